from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from images.outcome import Outcome
from images.pixels import process

from .pictures import saved, scene

EXIF, GPS = 0x8769, 0x8825
TAKEN, OFFSET = 0x9003, 0x9011
PLACE = {1: "N", 2: (48.0, 51.0, 30.0), 3: "W", 4: (2.0, 17.0, 40.2)}


def picture(main: dict[int, Any] = {}, camera: dict[int, Any] = {}, gps: dict[int, Any] = {}) -> Outcome:  # noqa: B006
    tags = Image.Exif()
    tags.update(main)
    tags.get_ifd(EXIF).update(camera)
    tags.get_ifd(GPS).update(gps)
    return process(saved(scene(64, 64), exif=tags))


def test_camera_and_exposure_are_read():
    outcome = picture(
        {0x010F: "Maker", 0x0110: "Model 5"},
        {
            0xA434: "50mm f/1.8",
            0x829A: IFDRational(1, 250),
            0x829D: IFDRational(28, 10),
            0x8827: 400,
            0x920A: IFDRational(50),
            0x9209: 1,
        },
    )
    assert outcome.exif == {
        "camera_make": "Maker",
        "camera_model": "Model 5",
        "lens_model": "50mm f/1.8",
        "exposure_time": "1/250",
        "f_number": 2.8,
        "iso": 400,
        "focal_length": 50.0,
        "flash": True,
    }


def test_serial_numbers_and_owner_are_not_kept():
    outcome = picture({}, {0xA431: "SN-12345", 0xA435: "LS-67890", 0xA430: "Owner"})
    assert outcome.exif == {}


def test_place_is_separate_and_in_degrees():
    outcome = picture(gps=PLACE)
    assert outcome.gps == {"latitude": pytest.approx(48.858333), "longitude": pytest.approx(-2.294500)}
    assert outcome.exif == {}


@pytest.mark.parametrize(
    "change",
    [{2: (91.0, 0.0, 0.0)}, {4: (1.0, 200.0, 999_999.0)}, {2: (IFDRational(1, 0), 0.0, 0.0)}],
)
def test_impossible_places_are_ignored(change):
    assert picture(gps={**PLACE, **change}).gps is None


def test_receiver_without_a_fix_gives_no_place():
    assert picture(gps={1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}).gps is None


def test_control_and_direction_characters_are_removed():
    outcome = picture({0x010E: "a\x07b\x1b[31m\nc", 0x0131: "evil\u202egpj".encode()})
    assert outcome.exif["description"] == "ab[31m c"
    assert outcome.exif["software"] == "evilgpj"


def test_text_is_bounded():
    assert len(picture({0x010E: "x" * 5000}).exif["description"]) == 200


def test_utf8_in_text_is_understood():
    assert picture({0x013B: "Åsa Öberg".encode()}).exif["artist"] == "Åsa Öberg"


@pytest.mark.parametrize("value", [IFDRational(0, 0), IFDRational(-1, 2), "x"])
def test_absurd_exposure_is_left_out(value):
    assert "exposure_time" not in picture({}, {0x829A: value}).exif


def test_offset_gives_utc():
    outcome = picture({}, {TAKEN: "2024:07:01 12:00:00", OFFSET: "+02:00"})
    assert outcome.taken_at == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert outcome.exif["taken_at_zone"] == "offset"


def test_satellite_time_is_used_without_an_offset():
    outcome = picture({}, {TAKEN: "2024:07:01 12:00:00"}, {7: (9.0, 59.0, 58.0), 29: "2024:07:01"})
    assert outcome.taken_at == datetime(2024, 7, 1, 9, 59, 58, tzinfo=UTC)
    assert outcome.exif["taken_at_zone"] == "gps"


def test_stale_satellite_time_is_not_believed():
    outcome = picture({}, {TAKEN: "2024:07:01 12:00:00"}, {7: (9.0, 0.0, 0.0), 29: "2004:11:15"})
    assert outcome.taken_at == datetime(2024, 7, 1, 12, tzinfo=UTC)
    assert outcome.exif["taken_at_zone"] == "assumed"


def test_utc_is_assumed_otherwise():
    outcome = picture({}, {TAKEN: "2024:07:01 12:00:00"})
    assert outcome.taken_at == datetime(2024, 7, 1, 12, tzinfo=UTC)
    assert outcome.exif["taken_at_zone"] == "assumed"


FUTURE = (datetime.now(UTC) + timedelta(days=40)).strftime("%Y:%m:%d %H:%M:%S")


@pytest.mark.parametrize(
    "written",
    [
        "0000:00:00 00:00:00",
        "2023:02:30 10:00:00",
        "1700:01:01 00:00:00",
        pytest.param(FUTURE, id="in 40 days"),
        "    :  :     :  :  ",
        "9999:12:31 23:59:59",
    ],
)
def test_impossible_dates_are_ignored(written):
    outcome = picture({}, {TAKEN: written})
    assert outcome.taken_at is None
    assert "taken_at_zone" not in outcome.exif


def test_impossible_offset_is_ignored():
    outcome = picture({}, {TAKEN: "2024:07:01 12:00:00", OFFSET: "+99:00"})
    assert outcome.exif["taken_at_zone"] == "assumed"


@pytest.mark.parametrize("junk", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 200])
def test_damaged_exif_costs_nothing_but_itself(junk):
    outcome = process(saved(scene(64, 64), exif=junk))
    assert (outcome.width, outcome.exif, outcome.gps, outcome.taken_at) == (64, {}, None, None)
