"""Bytes to pictures: safe decoding, upright sRGB renditions, and all that is measured on them.

PURE Pillow / numpy: no Django, no network. Files that people send are decoded only inside `images.sandbox`;
limits, formats and measurements are in docs/decoding.md.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import pdqhash
from PIL import AvifImagePlugin, Image, ImageCms, ImageFile, TiffImagePlugin, WebPImagePlugin

from . import exif, places, quality
from .formats import DECODERS, SNIFF_BYTES, refused_kind, sniff, webp_size
from .outcome import DEFAULT_LIMITS, Limits, Outcome, Rejected, Rendition

__all__ = ["Limits", "Outcome", "Rejected", "Rendition", "decode", "open_rendition", "process", "sniff"]

PREVIEW_SIDE = 1000  # a 12-megapixel JPEG (4000 px) reaches it inside the decoder, at a quarter of the scale
PREVIEW_LEAST, PREVIEW_MOST = 900, 1280  # a decoder's own scale that lands here is not resized again
PREVIEW_SHORT = 256  # an encoder's input: long pictures keep this much of their short side
PREVIEW_LONGEST = 4000
THUMBNAIL_SIDE = 256
THUMBNAIL_ASPECT = 4
ANALYSIS_SIDE = 512
JPEG_QUALITY = 82
GRAPHIC_QUALITY = 92  # with full chroma: icons, screenshots and drawings have coloured hard edges
LOSSLESS = {"image/png", "image/gif", "image/bmp"}
SMALL_SIDE = 300
MAX_PROFILE_BYTES = 4 << 20

Size = tuple[int, int]
Box = tuple[int, int, int, int]

_DAMAGED = (*exif.UNREADABLE, zlib.error)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SRGB = ImageCms.createProfile("sRGB")
# Registered here, or the first such file would make Pillow import every plugin that it has.
assert {AvifImagePlugin.AvifImageFile.format, TiffImagePlugin.TiffImageFile.format} < set(Image.OPEN)
assert WebPImagePlugin.WebPImageFile.format in Image.OPEN
# One picture uses one core; the number of pictures at a time is the pool's business.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


class Decoded:
    """An upright sRGB picture of about preview size, and what its file said about it."""

    __slots__ = ("content_type", "holds_place", "image", "metadata", "size", "tables")

    def __init__(self, opened: Image.Image, content_type: str, data: bytes) -> None:
        header_size = opened.size
        _draft(opened)
        opened.load()
        turn = exif.orientation(opened)
        self.content_type = content_type
        self.metadata = exif.read(opened)
        self.holds_place = places.told(data, opened)
        self.tables = getattr(opened, "quantization", None)
        # TIFF turns itself while loading, so only its size after that is upright.
        header_size = opened.size if content_type == "image/tiff" else header_size
        self.size: Size = header_size[::-1] if turn >= 5 else header_size
        image = to_srgb(shrink(opened))
        self.image = image.transpose(_UPRIGHT[turn]) if turn > 1 else image
        self.image.info = {}  # Pillow would write a comment left here into every file that it saves

    @property
    def is_graphic(self) -> bool:
        return self.content_type in LOSSLESS or max(self.size) <= SMALL_SIDE


def process(source: Path | str | bytes, limits: Limits = DEFAULT_LIMITS) -> Outcome:
    """Everything that the product derives from one original. Raises `Rejected`.

    Runs C decoders on hostile bytes: outside tests and benchmarks call `images.sandbox.SandboxPool.process`.
    One thread at a time: Pillow's pixel limit and Python's warning filters belong to the whole process.
    """
    data = read_source(source, limits)
    decoded = decode(data, limits)
    preview = encode(decoded.image, decoded.is_graphic)
    analysed = fitted(decoded.image, ANALYSIS_SIDE)
    is_long = max(analysed.size) > THUMBNAIL_ASPECT * min(analysed.size)
    small, pixels = thumbnail(decoded.image if is_long else analysed), np.asarray(analysed)
    bits, phash_quality = pdqhash.compute(pixels)
    compression = quality.compression_part(
        decoded.content_type, decoded.tables, len(data), decoded.size[0] * decoded.size[1]
    )
    score, parts = quality.assess(pixels, decoded.size, compression)
    return Outcome(
        content_type=decoded.content_type,
        width=decoded.size[0],
        height=decoded.size[1],
        preview=preview,
        thumbnail=preview if small is decoded.image else encode(small, decoded.is_graphic),
        exif=decoded.metadata.exif,
        gps=decoded.metadata.gps,
        holds_place=decoded.holds_place,
        taken_at=decoded.metadata.taken_at,
        quality=score,
        quality_parts=parts,
        phash=np.packbits(bits.astype(bool)).tobytes(),
        phash_quality=int(phash_quality),
        colours=quality.dominant_colours(fitted(analysed, 64)),
    )


def read_source(source: Path | str | bytes, limits: Limits) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        with open(source, "rb") as file:
            data = file.read(limits.max_bytes + 1)
    limits.check_bytes(len(data))
    return data


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """The first frame, checked against the limits before any pixel is decoded. Raises `Rejected`."""
    content_type = identify(data[:SNIFF_BYTES], limits)
    with _refusing(limits), Image.open(io.BytesIO(data), formats=[DECODERS[content_type]]) as opened:
        _check_pixels(opened.size, limits)
        return Decoded(opened, content_type, data)


def identify(head: bytes, limits: Limits) -> str:
    """Content type by content; `Rejected` for anything that is not on the list."""
    content_type = sniff(head)
    if content_type is None:
        kind = refused_kind(head)
        raise Rejected("unsupported_format", kind=kind) if kind else Rejected("not_an_image")
    if not limits.allows(content_type):
        raise Rejected("unsupported_format", kind=DECODERS[content_type])
    if content_type == "image/webp":
        _check_pixels(webp_size(head) or (1, 1), limits)
    return content_type


def _check_pixels(size: Size, limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise Rejected("corrupt")
    if width * height > limits.max_pixels:
        raise _too_many(limits)


def _too_many(limits: Limits) -> Rejected:
    return Rejected("too_many_pixels", limit=limits.max_pixels // 1_000_000)


@contextmanager
def _refusing(limits: Limits) -> Iterator[None]:
    """Every way in which Pillow says that a file is bad, as one `Rejected`."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_many(limits) from error
    except _DAMAGED as error:
        raise Rejected("truncated" if "truncated" in str(error).lower() else "corrupt") from error
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def _draft(opened: Image.Image) -> None:
    """Let the JPEG decoder scale (DCT) while at least a preview is left; other formats ignore it."""
    size, _ = preview_plan(opened.size)
    least = PREVIEW_LEAST / PREVIEW_SIDE
    scale = least if max(size) == PREVIEW_SIDE and min(size) * least >= PREVIEW_SHORT else 1
    opened.draft(None, (max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)))


def preview_plan(size: Size) -> tuple[Size, Box]:
    """(size of the preview, part of the picture that it shows); never enlarged.

    The long side is about 1000 px. Long pictures grow until their short side has 256 px or the long
    side 4000; what is longer still is cut to its middle: a 32×58128 picture must not be resized whole.
    """
    long, short = max(size), min(size)
    if long <= PREVIEW_MOST:
        return size, (0, 0, *size)
    scale = min(1.0, max(PREVIEW_SIDE / long, PREVIEW_SHORT / short))
    shown = min(long, round(PREVIEW_LONGEST / scale))
    box = _centred(size, (min(size[0], shown), min(size[1], shown)))
    return (max(round((box[2] - box[0]) * scale), 1), max(round((box[3] - box[1]) * scale), 1)), box


def _centred(size: Size, part: Size) -> Box:
    left, top = (size[0] - part[0]) // 2, (size[1] - part[1]) // 2
    return left, top, left + part[0], top + part[1]


def shrink(image: Image.Image) -> Image.Image:
    """Cut and resize to preview size, in the file's own colours where Pillow can resize those."""
    size, box = preview_plan(image.size)
    if image.size == size:
        return image
    if box != (0, 0, *image.size):
        info, image = image.info, image.crop(box)
        image.info.update(info)
    if image.mode not in {"RGB", "RGBA", "L", "LA", "CMYK", "I", "F"} or "transparency" in image.info:
        image = _resizable(image)
    info, image = image.info, image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    image.info.update(info)
    return image


def _resizable(image: Image.Image) -> Image.Image:
    """Palettes, bit depths and key colours as 8-bit channels; the ICC profile stays attached."""
    if image.mode.startswith("I") or image.mode == "F":
        converted = _from_deep(image)
    elif image.mode in {"PA", "La", "RGBa"} or "transparency" in image.info:
        converted = image.convert("RGBA")
    else:
        converted = image.convert("L" if image.mode == "1" else "RGB")
    if "icc_profile" in image.info and image.mode not in {"LAB", "YCbCr", "HSV"}:
        converted.info["icc_profile"] = image.info["icc_profile"]
    converted.info.pop("transparency", None)
    return converted


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit by its high byte; 32-bit and float stretched between their extremes."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float32))
    is_short = image.mode == "I" and values.max() <= 65535
    low, high = (0.0, 65535.0) if is_short else (values.min(), values.max())
    return Image.fromarray(((values - low) * (255 / max(high - low, 1e-6))).clip(0, 255).astype(np.uint8))


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB; transparent parts become white."""
    profile = image.info.get("icc_profile")
    if image.mode not in {"RGB", "RGBA", "L", "LA", "CMYK"} or "transparency" in image.info:
        image = _resizable(image)
        profile = image.info.get("icc_profile")
    if image.mode in {"RGBA", "LA"}:
        image = on_white(image)
    transform = _transform(bytes(profile), image.mode) if profile else None
    if transform:
        image = ImageCms.applyTransform(image, transform) or image
    return image if image.mode == "RGB" else image.convert("RGB")


def on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", image.size, "white")
    page.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return page


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB; None for sRGB itself and for profiles that are damaged or of another colour model."""
    if len(profile) > MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "srgb" in (ImageCms.getProfileDescription(source) or "").lower():
            return None
        return ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, *exif.UNREADABLE):
        return None


def fitted(image: Image.Image, side: int) -> Image.Image:
    """At most `side` px on the long side; a whole divisor that comes near is eight times faster."""
    long = max(image.size)
    if long <= side:
        return image
    divisor = -(-long // side)
    if long / divisor >= 0.95 * side:
        return image.reduce(divisor)
    size = (max(round(image.width * side / long), 1), max(round(image.height * side / long), 1))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.5)


def thumbnail(image: Image.Image) -> Image.Image:
    """256 px on the long side; pictures longer than 4:1 show their middle."""
    long = THUMBNAIL_ASPECT * min(image.size)
    part = (min(image.width, long), min(image.height, long))
    return fitted(image.crop(_centred(image.size, part)) if part != image.size else image, THUMBNAIL_SIDE)


def encode(image: Image.Image, is_graphic: bool = False) -> Rendition:
    """JPEG without metadata."""
    buffer = io.BytesIO()
    options = (GRAPHIC_QUALITY, 0) if is_graphic else (JPEG_QUALITY, 2)
    image.save(buffer, "JPEG", quality=options[0], subsampling=options[1])
    return Rendition(buffer.getvalue(), *image.size)


def open_rendition(data: bytes) -> Image.Image:
    """One of our own previews or thumbnails as RGB; ValueError where it is not one."""
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    if max(image.size) > PREVIEW_LONGEST:
        raise ValueError(f"not a rendition: {image.size[0]} × {image.size[1]} px")
    return image.convert("RGB")
