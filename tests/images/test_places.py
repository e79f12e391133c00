"""Whether a file may tell where it was taken, in every part that can hold it; and who gets such a file."""

import io
import json
import struct
import zipfile

import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from images import places, storage
from images.models import Image
from images.pixels import process
from images.processing import process_pending
from images.transfer import request_export, run_due
from tests.images.pictures import scene

GPS = 0x8825
RDF = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%s</rdf:RDF></x:xmpmeta>'
HERE = RDF % '<rdf:Description exif:GPSLatitude="48,51.5N" exif:GPSLongitude="2,17.7W"/>'
CITY = RDF % "<rdf:Description><photoshop:City>Kiel</photoshop:City></rdf:Description>"
PLAIN = RDF % "<rdf:Description><dc:title>A pier in the city, at GPS dawn</dc:title></rdf:Description>"


def saved(kind, **options):
    file = io.BytesIO()
    scene(64, 64).save(file, kind, **options)
    return file.getvalue()


def png(key, text, compressed):
    info = PngInfo()
    info.add_itxt(key, text, zip=compressed)
    return saved("PNG", pnginfo=info)


def tags(**gps):
    made = Pillow.Exif()
    made.get_ifd(GPS).update({int(name[1:]): value for name, value in gps.items()})
    return made


def with_segment(payload, marker=0xED):
    """A JPEG with one more application segment."""
    data = saved("JPEG")
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + data[2:]


def iptc(dataset, value):
    body = b"\x1c\x02" + bytes([dataset]) + struct.pack(">H", len(value)) + value
    return with_segment(b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + struct.pack(">I", len(body)) + body)


TELLING = {
    "exif": saved("JPEG", exif=tags(_1="N", _2=(48.0, 51.0, 30.0), _3="W", _4=(2.0, 17.0, 40.2))),
    "exif, damaged": saved("JPEG", exif=tags(_1="?", _2=(948.0, 51.0, 30.0))),
    "exif, the null island": saved("JPEG", exif=tags(_1="N", _2=(0.0, 0.0, 0.0), _3="E", _4=(0.0, 0.0, 0.0))),
    "exif, only the direction": saved("JPEG", exif=tags(_17=120.5)),
    "xmp in JPEG": saved("JPEG", xmp=HERE.encode()),
    "xmp in JPEG, UTF-16": saved("JPEG", xmp=HERE.encode("utf-16-le")),
    "xmp in JPEG, a city": saved("JPEG", xmp=CITY.encode()),
    "xmp in WebP": saved("WEBP", xmp=HERE.encode()),
    "xmp in PNG": png("XML:com.adobe.xmp", HERE, False),
    "xmp in PNG, compressed": png("XML:com.adobe.xmp", HERE, True),
    "xmp in AVIF": saved("AVIF", xmp=HERE.encode()),
    "extended xmp": with_segment(b"http://ns.adobe.com/xmp/extension/\x00" + b"0" * 40 + HERE.encode(), 0xE1),
    "iptc, a city": iptc(90, b"Kiel"),
    "iptc, a country": iptc(101, b"Germany"),
    "a film behind the picture": saved("JPEG")
    + b"\x00\x00\x00\x18ftypmp42"
    + b"\xa9xyz\x00\x12+48.8583-002.2945/",
}
SILENT = {
    "nothing": saved("JPEG"),
    "a camera": saved("JPEG", exif=tags()),
    "only the version of GPS": saved("JPEG", exif=tags(_0=b"\x02\x03\x00\x00")),
    "xmp without a place": saved("JPEG", xmp=PLAIN.encode()),
    "iptc without a place": iptc(120, b"A pier"),
    "PNG with a comment": png("Comment", "a pier", True),
    "WebP": saved("WEBP"),
}


@pytest.mark.parametrize("name", TELLING)
def test_a_file_that_may_tell_its_place_is_known(name):
    assert process(TELLING[name]).holds_place


@pytest.mark.parametrize("name", SILENT)
def test_a_file_that_tells_none_goes_out_as_it_is(name):
    assert not process(SILENT[name]).holds_place


def between_scans(payload):
    """A progressive JPEG with one more segment behind its first scan."""
    data = saved("JPEG", progressive=True)
    second = data.index(b"\xff\xc4", data.index(b"\xff\xda"))
    return data[:second] + struct.pack(">BBH", 0xFF, 0xE1, len(payload) + 2) + payload + data[second:]


def test_only_pixels_are_left_out():
    noise = Pillow.effect_noise((400, 400), 80)
    for kind in ("JPEG", "PNG"):
        file = io.BytesIO()
        noise.save(file, kind)
        data = file.getvalue()
        assert len(places.beside_pixels(data)) < len(data) / 50
        assert places.beside_pixels(data + b"behind").endswith(b"behind")
    assert b"GPSLatitude" in places.beside_pixels(between_scans(HERE.encode()))
    assert b"GPSLatitude" in places.beside_pixels(between_scans(HERE.encode())[:-2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_many_pieces_are_not_walked_for_ever(kind):
    data = saved(kind)
    at = 2 if kind == "JPEG" else 33
    piece = b"\xff\xfe\x00\x02" if kind == "JPEG" else b"\x00\x00\x00\x00teXt1234"
    many = data[:at] + piece * 20_000 + HERE.encode() + data[at:]
    assert b"GPSLatitude" in places.beside_pixels(many)


def test_renditions_tell_nothing():
    for name, data in TELLING.items():
        outcome = process(data)
        for rendition in (outcome.preview, outcome.thumbnail):
            assert not process(rendition.data).holds_place, name


@pytest.mark.django_db(transaction=True)
def test_a_place_in_xmp_stays_with_uploader_and_editors(collection, teammate, viewer, owner, api):
    from django.core.files.uploadedfile import SimpleUploadedFile

    for name in ("xmp in JPEG", "nothing"):
        file = SimpleUploadedFile("a.jpg", TELLING.get(name) or SILENT[name])
        sent = api(teammate).post(
            f"/api/v1/collections/{collection.uid}/images/", {"file": file}, format="multipart"
        )
        assert sent.status_code == 201
    while process_pending():
        pass
    told = {}
    for image in Image.objects.order_by("pk"):
        assert (image.state, image.gps) == ("ready", None)
        for who in (teammate, owner, viewer):
            link = api(who).get(f"/api/v1/images/{image.uid}/file/")["Location"]
            told[who.name, image.holds_place] = storage.read(storage.unsign(link.removeprefix("/files/")).key)
    assert b"GPSLatitude" in told["teammate", True] and b"GPSLatitude" in told["owner", True]
    assert b"GPSLatitude" not in told["viewer", True]
    assert told["viewer", False] == SILENT["nothing"]


@pytest.mark.django_db
def test_an_original_that_was_not_looked_at_does_not_leave(make_image, viewer, collection):
    from images.access import principal_for_user
    from images.views.files import download_key

    fresh = Image(holds_place=Image._meta.get_field("holds_place").default)
    image = make_image(holds_place=fresh.holds_place)
    assert download_key(image, principal_for_user(viewer)) == image.preview_key
    request_export(collection, principal_for_user(viewer), viewer)
    run_due()
    (key,) = [one.key for one in storage.list("exports/") if not one.key.endswith(".ids")]
    row = json.loads(zipfile.ZipFile(io.BytesIO(storage.read(key))).read("metadata.jsonl"))
    assert row["original"] is False
