from __future__ import annotations

import io
import struct
import zlib
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFilter

from images.formats import refused_kind, sniff
from images.outcome import Limits, Outcome, Rejected
from images.pixels import open_rendition, preview_plan, process

from .pictures import mean_colour, saved, scene

WITH_TIFF = Limits(allow_tiff=True)
KINDS = {
    "JPEG": "jpeg",
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "AVIF": "avif",
    "BMP": "bmp",
    "TIFF": "tiff",
}


def refusal(data: bytes, limits: Limits = WITH_TIFF) -> str:
    with pytest.raises(Rejected) as raised:
        process(data, limits)
    return raised.value.code


def colour(image: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    """Mean colour of the preview of a picture saved as `kind`."""
    outcome = process(saved(image, kind, **options), WITH_TIFF)
    return mean_colour(open_rendition(outcome.preview.data))


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_known_by_content(kind):
    outcome = process(saved(scene(), kind), WITH_TIFF)
    assert outcome.content_type == f"image/{KINDS[kind]}"
    assert (outcome.width, outcome.height) == (640, 480)


@pytest.mark.parametrize("kind", KINDS)
def test_sniff_agrees_with_decoding(kind):
    assert sniff(saved(scene(), kind)[:64]) == f"image/{KINDS[kind]}"


def test_mpo_counts_as_jpeg():
    data = saved(scene(), "MPO", save_all=True, append_images=[scene(seed=2)])
    outcome = process(data)
    assert outcome.content_type == "image/jpeg"
    assert abs(mean_colour(open_rendition(outcome.preview.data)) - mean_colour(scene())).max() < 3


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS"),
        (b"8BPS\0\1", "PSD"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"PK\3\4", "ZIP"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_known_kinds_are_refused_by_name(head, kind):
    assert refused_kind(head) == kind
    with pytest.raises(Rejected, match=f"^{kind} files are not supported"):
        process(head + bytes(100))


def test_tiff_is_off_by_default():
    assert refusal(saved(scene(), "TIFF"), Limits()) == "unsupported_format"


def test_avif_brand_among_the_compatible_ones_is_enough():
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "image/avif"


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "empty"), (b"hello, world" * 9, "not_an_image"), (b"\x89PNG\r\n\x1a\n", "corrupt")],
)
def test_what_is_no_picture_is_refused(data, code):
    assert refusal(data) == code


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF"])
def test_truncated_files_are_refused(kind):
    data = saved(scene(), kind)
    assert refusal(data[: len(data) * 6 // 10]) in {"truncated", "corrupt"}


def test_truncated_jpeg_says_so():
    data = saved(scene(2000, 1500))
    assert refusal(data[: len(data) // 2]) == "truncated"


def test_too_many_bytes_are_refused():
    assert refusal(saved(scene()), Limits(max_bytes=1000)) == "too_large"


def png_of(width: int, height: int) -> bytes:
    """A header that promises a picture, and no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("size", [(9460, 9459), (30_000, 30_000), (2_000_000_000, 2)])
def test_bombs_are_refused_by_their_header(size):
    assert refusal(png_of(*size)) == "too_many_pixels"


def test_webp_bomb_is_refused_before_it_is_opened():
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
    assert refusal(b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas) == "too_many_pixels"


def test_pixel_limit_is_inclusive():
    image = scene(40, 50)
    assert process(saved(image), Limits(max_pixels=2000)).width == 40
    assert refusal(saved(image), Limits(max_pixels=1999)) == "too_many_pixels"


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_applied(turn):
    """The file holds what a camera held that way would store; the preview shows the scene again."""
    upright = scene(600, 400)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[turn]) if turn > 1 else upright
    tags = Image.Exif()
    tags[0x0112] = turn
    outcome = process(saved(stored, exif=tags, quality=95))
    shown = np.asarray(open_rendition(outcome.preview.data), float)
    assert (outcome.width, outcome.height) == (600, 400) == shown.shape[1::-1]
    assert abs(shown - np.asarray(upright, float)).mean() < 12


def test_transparency_becomes_white():
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert colour(clear).min() > 252


def test_half_transparent_colour_is_mixed_with_white():
    assert colour(Image.new("RGBA", (64, 64), (255, 0, 0, 128))) == pytest.approx([255, 127, 127], abs=3)


def test_palette_with_a_clear_entry_becomes_white():
    indexed = Image.new("P", (64, 64), 0)
    indexed.putpalette([200, 0, 0, 0, 0, 200])
    assert colour(indexed, transparency=0).min() > 252


def test_sixteen_bit_grey_keeps_its_level():
    deep = Image.fromarray(np.full((64, 64), 0x8000, np.uint16))
    assert colour(deep) == pytest.approx([128] * 3, abs=2)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_stretched_between_their_extremes(dtype):
    ramp = np.tile(np.linspace(0, 1_000_000, 1600).astype(dtype), (1600, 1))
    assert colour(Image.fromarray(ramp), "TIFF") == pytest.approx([127.5] * 3, abs=2)


def test_cmyk_is_converted():
    assert colour(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG") == pytest.approx([255, 0, 0], abs=4)


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged, under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    return profile.replace(b"rXYZ", b"?", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"?", b"gXYZ", 1)


def test_colour_profile_is_applied():
    red = Image.new("RGB", (64, 64), "red")
    assert colour(red, icc_profile=swapped_profile()) == pytest.approx([0, 255, 0], abs=4)


def test_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert abs(colour(scene(), icc_profile=profile) - colour(scene())).max() < 1


def test_damaged_profile_is_ignored():
    assert abs(colour(scene(), icc_profile=b"nonsense" * 20) - colour(scene())).max() < 1


def test_first_frame_of_an_animation_is_used():
    frames = [Image.new("RGB", (64, 64), name) for name in ("red", "lime")]
    assert colour(frames[0], "GIF", save_all=True, append_images=frames[1:]) == pytest.approx(
        [255, 0, 0], abs=3
    )


def test_renditions_carry_no_metadata():
    tags = Image.Exif()
    tags[0x010E], tags[0x0110] = "a secret place", "Camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(scene(), exif=tags, comment=b"a secret word", icc_profile=profile, xmp=b"<x:xmpmeta>secret")
    outcome = process(data)
    for rendition in (outcome.preview, outcome.thumbnail):
        assert b"secret" not in rendition.data
        assert not {"exif", "comment", "icc_profile", "xmp"} & set(
            Image.open(io.BytesIO(rendition.data)).info
        )


@pytest.mark.parametrize(
    ("size", "preview"),
    [
        ((4000, 3000), (1000, 750)),
        ((3000, 4000), (750, 1000)),
        ((640, 480), (640, 480)),
        ((1200, 900), (1200, 900)),
        ((8000, 1600), (1280, 256)),
        ((20_000, 1000), (4000, 256)),
        ((3000, 100), (3000, 100)),
        ((58_128, 32), (4000, 32)),
        ((1, 60_000), (1, 4000)),
    ],
)
def test_preview_sizes(size, preview):
    planned, box = preview_plan(size)
    assert planned == preview
    assert min(box) >= 0 and box[2] <= size[0] and box[3] <= size[1]


def test_large_jpeg_is_scaled_by_its_decoder():
    outcome = process(saved(scene(4032, 3024)))
    assert (outcome.preview.width, outcome.preview.height) == (1008, 756)
    assert (outcome.width, outcome.height) == (4032, 3024)


def test_extreme_aspect_stays_cheap():
    """Resizing this whole by its short side would make hundreds of megapixels."""
    outcome = process(saved(Image.new("L", (32, 58_128), 90), "GIF"))
    assert (outcome.preview.width, outcome.preview.height) == (32, 4000)
    assert (outcome.thumbnail.width, outcome.thumbnail.height) == (32, 128)


def test_thumbnail_fits_256_px():
    outcome = process(saved(scene(1600, 900)))
    assert 240 <= outcome.thumbnail.width <= 256
    assert outcome.thumbnail.width / outcome.thumbnail.height == pytest.approx(16 / 9, rel=0.02)


def test_rendition_sizes_are_those_of_the_files():
    outcome = process(saved(scene(1700, 1300)))
    for rendition in (outcome.preview, outcome.thumbnail):
        assert open_rendition(rendition.data).size == (rendition.width, rendition.height)


def test_small_pictures_are_not_enlarged():
    outcome = process(saved(scene(20, 10), "PNG"))
    assert (outcome.preview.width, outcome.thumbnail.width) == (20, 20)


def distance(one: Outcome, other: Outcome) -> int:
    bits = np.frombuffer(one.phash, np.uint8) ^ np.frombuffer(other.phash, np.uint8)
    return int(np.unpackbits(bits).sum())


@pytest.mark.parametrize("change", ["quality", "size", "format", "blur"])
def test_hash_is_close_for_the_same_picture(change):
    image = scene(900, 700)
    changed = {
        "quality": lambda: saved(image, quality=30),
        "size": lambda: saved(image.resize((450, 350))),
        "format": lambda: saved(image, "WEBP"),
        "blur": lambda: saved(image.filter(ImageFilter.GaussianBlur(1))),
    }[change]()
    assert distance(process(saved(image)), process(changed)) <= 31  # the usual PDQ threshold


def test_hash_is_far_for_another_picture():
    assert distance(process(saved(scene(seed=1))), process(saved(scene(seed=2)))) > 90


def test_dominant_colours_are_named_with_their_share():
    flag = Image.new("RGB", (300, 200), "#ff0000")
    flag.paste("#0000ff", (0, 0, 100, 200))
    colours = process(saved(flag, "PNG")).colours
    assert [c["hex"] for c in colours] == ["#ff0000", "#0000ff"]
    assert [c["share"] for c in colours] == pytest.approx([2 / 3, 1 / 3], abs=0.05)


def test_outcome_survives_the_wire():
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    outcome = process(saved(scene(), exif=tags))
    header, blobs = outcome.to_wire()
    assert outcome.taken_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert Outcome.from_wire(header, blobs) == outcome


@pytest.mark.parametrize(
    "forged",
    [{"width": 0}, {"quality": 2.0}, {"content_type": "text/html"}, {"phash": "00"}, {"exif": {"a": ["b"]}}],
)
def test_forged_outcomes_are_refused(forged):
    header, blobs = process(saved(scene())).to_wire()
    with pytest.raises((ValueError, KeyError, TypeError)):
        Outcome.from_wire({**header, **forged}, blobs)


def test_rendition_that_is_not_ours_is_refused():
    with pytest.raises(ValueError, match="not a rendition"):
        open_rendition(saved(Image.new("RGB", (5000, 10))))
