"""Files that nobody on this project wrote, through the sandbox, against their listed outcomes."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images.outcome import Limits, Outcome, Rejected
from images.pixels import open_rendition
from images.sandbox import SandboxError, SandboxPool

from .pictures import mean_colour

# Listed as accepted, but pixel data is damaged (the lower third is missing; the last data chunk is cut):
# the folder's own rule "truncated refused" decides.
DAMAGED = {"files/crash-fuzz/1b6dfa9df2a80fdf.png", "files/crash-fuzz/2a5b52ceb34ec396.png"}
NAMED = {kind: kind for kind in ("PSD", "EPS", "ICO", "DDS", "BLP", "SGI")} | {"JPEG2000": "JPEG 2000"}


@dataclass
class Answer:
    row: dict[str, str]
    path: Path
    given: Outcome | Exception

    @property
    def accepted(self) -> bool:
        return isinstance(self.given, Outcome)


@dataclass
class Run:
    answers: list[Answer]
    peak_bytes: int
    children: int

    def accepted(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.accepted]


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def answer(pool: SandboxPool, row: dict[str, str], path: Path) -> Answer:
    try:
        given: Outcome | Exception = pool.process(path)
    except (Rejected, SandboxError) as error:
        given = error
    return Answer(row, path, given)


def run(folder: Path, limits: Limits) -> Run:
    with (folder / "MANIFEST.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    # The promise is two seconds for each; ten leave room for a busy machine.
    with SandboxPool(2, limits=limits, seconds=10) as pool:
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda row: answer(pool, row, folder / row["file"]), rows))
        pids = pool.pids()
        return Run(answers, max(map(peak_bytes, pids)), len(pids))


@pytest.fixture(scope="module")
def with_tiff(test_data):
    return run(test_data / "hostile", Limits(allow_tiff=True))


@pytest.fixture(scope="module")
def usual(test_data):
    return run(test_data / "hostile", Limits())


def test_whole_folder_is_there(with_tiff):
    assert len(with_tiff.answers) == 773


def test_every_outcome_is_as_listed(with_tiff):
    listed = (a for a in with_tiff.answers if a.row["expected"] != "either" and a.row["file"] not in DAMAGED)
    wrong = [(a.row["file"], a.given) for a in listed if a.accepted != (a.row["expected"] == "accepted")]
    assert wrong == []


def test_damaged_pixels_are_refused_whatever_the_list_says(with_tiff):
    codes = {a.row["file"]: getattr(a.given, "code", None) for a in with_tiff.answers}
    assert {codes[name] for name in DAMAGED} <= {"corrupt", "truncated"}


def test_only_the_pictures_are_at_fault(with_tiff):
    """No crash, no time-out, no error of another kind."""
    assert {type(a.given) for a in with_tiff.answers} == {Outcome, Rejected}


def test_tiff_is_refused_by_name_unless_allowed(usual):
    tiffs = [a for a in usual.answers if a.row["format"] == "TIFF"]
    assert len(tiffs) > 40
    assert {str(a.given) for a in tiffs} == {"TIFF files are not supported."}


def test_other_formats_do_not_depend_on_tiff(usual, with_tiff):
    pairs = zip(usual.answers, with_tiff.answers, strict=True)
    differ = [a.row for a, b in pairs if a.accepted != b.accepted]
    assert {row["format"] for row in differ} <= {"TIFF"}


def test_no_file_needs_more_than_512_mb(with_tiff):
    assert with_tiff.peak_bytes < 512 << 20


def test_no_child_was_lost(with_tiff):
    assert with_tiff.children == 2


def test_sizes_are_upright(with_tiff):
    wrong = [
        (a.row["file"], a.given.width, a.given.height)
        for a in with_tiff.accepted()
        if a.row["upright_size"] and a.row["upright_size"] != f"{a.given.width}x{a.given.height}"
    ]
    assert wrong == []


def has_plain_colours(path: Path) -> bool:
    """The listed colour ignores transparency, colour profiles and all but 8 bits."""
    with Image.open(path) as image:
        image.load()
        has_alpha = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
        return not (has_alpha or image.info.get("icc_profile") or image.mode.startswith(("I", "F")))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_colours_are_as_listed(with_tiff):
    listed = [a for a in with_tiff.accepted() if a.row["mean_rgb_224"] and has_plain_colours(a.path)]
    wrong = [(a.row["file"], a.row["mean_rgb_224"]) for a in listed if colour_error(a) > 3]
    assert len(listed) > 250
    assert wrong == []


def colour_error(a: Answer) -> float:
    expected = np.array([float(part) for part in a.row["mean_rgb_224"].split(",")])
    return float(abs(mean_colour(open_rendition(a.given.preview.data)) - expected).max())


def test_no_rendition_carries_metadata(with_tiff):
    for a in with_tiff.accepted():
        for rendition in (a.given.preview, a.given.thumbnail):
            with Image.open(io.BytesIO(rendition.data)) as image:
                assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_renditions_have_bounded_sizes(with_tiff):
    for a in with_tiff.accepted():
        assert max(a.given.preview.width, a.given.preview.height) <= 4000
        assert max(a.given.thumbnail.width, a.given.thumbnail.height) <= 256


def test_places_are_found_and_kept_apart(with_tiff):
    marked = [a for a in with_tiff.accepted() if "has_gps" in a.row["notes"]]
    assert marked
    for a in marked:
        assert not any("gps" in key or "latitude" in key for key in a.given.exif)


def test_known_kinds_are_refused_by_name(with_tiff):
    named = [a for a in with_tiff.answers if a.row["format"] in NAMED]
    assert len(named) > 20
    for a in named:
        assert str(a.given) == f"{NAMED[a.row['format']]} files are not supported."
