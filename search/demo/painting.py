"""Brushes of the drawn world: noise, ridges, blending and pictograms. Colours are floats from 0 to 255."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE = 109  # the one bitmap size that the font carries

Canvas = NDArray[np.float32]  # [height, width, 3]
Mask = NDArray[np.float32]  # [height, width], 0 to 1
Colour = tuple[float, float, float]
Random = np.random.Generator


class MissingFont(RuntimeError):
    """The colour font is not installed: install Debian's package fonts-noto-color-emoji."""


def noise(rng: Random, width: int, height: int, cells: tuple[int, int], octaves: int = 4) -> Mask:
    """Fractal noise, 0 to 1; `cells` = how many blobs across and down."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(octaves):
        columns, rows = (
            max(2, min(c << octave, limit)) for c, limit in zip(cells, (width, height), strict=True)
        )
        grid = Image.fromarray(rng.random((rows, columns), np.float32))
        total += weight * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
        weight *= 0.5
    return np.clip(total / (2 - 2 * weight), 0, 1)


def ridge(
    rng: Random, width: int, points: int, octaves: int = 5, roughness: float = 0.5
) -> NDArray[np.float32]:
    """A skyline [width], about -1 to 1: jagged with many octaves, rolling with one or two."""
    total = np.zeros(width, np.float32)
    weight, x = 1.0, np.linspace(0, 1, width)
    for octave in range(octaves):
        count = min(points << octave, width)
        knots = np.linspace(0, 1, count + 1)
        total += weight * np.interp(x, knots, rng.uniform(-1, 1, count + 1)).astype(np.float32)
        weight *= roughness
    return total / 1.4


def smooth(line: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Rounds a skyline by a moving average over `share` of its width."""
    radius = max(1, int(len(line) * share))
    kernel = np.hanning(2 * radius + 1)
    return np.convolve(np.pad(line, radius, mode="edge"), kernel / kernel.sum(), "valid").astype(np.float32)


def below(line: NDArray[np.float32], height: int) -> Mask:
    """1 under the line given in pixels from the top, 0 above, softened over one pixel."""
    return np.clip(np.arange(height, dtype=np.float32)[:, None] - line[None, :] + 0.5, 0, 1)


def blend(canvas: Canvas, mask: Mask, colour: "Colour | Canvas") -> None:
    """Lays a colour (or a picture of the same size) over the canvas, in place."""
    canvas += mask[..., None] * (np.asarray(colour, np.float32) - canvas)


def gradient(height: int, width: int, stops: list[tuple[float, Colour]]) -> Canvas:
    """A vertical run of colours; each stop is (share of the height, colour)."""
    y = np.linspace(0, 1, height)
    places = [place for place, _ in stops]
    columns = [np.interp(y, places, [colour[c] for _, colour in stops]) for c in range(3)]
    return np.repeat(np.stack(columns, -1)[:, None, :], width, axis=1).astype(np.float32)


def glow(height: int, width: int, centre: tuple[float, float], radius: tuple[float, float]) -> Mask:
    """A soft round light: 1 in the centre, falling off like a bell."""
    y = (np.arange(height, dtype=np.float32) - centre[1]) / radius[1]
    x = (np.arange(width, dtype=np.float32) - centre[0]) / radius[0]
    return np.exp(-(y * y))[:, None] * np.exp(-(x * x))[None, :]


def disc(height: int, width: int, centre: tuple[float, float], radius: float) -> Mask:
    """A filled circle with a soft edge of one pixel."""
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(x - centre[0], y - centre[1])
    return np.clip(radius - distance + 0.5, 0, 1).astype(np.float32)


def layer(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A clear sheet of twice the size: `lay` shrinks it, which smooths the edges."""
    sheet = Image.new("RGBA", (2 * width, 2 * height))
    return sheet, ImageDraw.Draw(sheet)


def lay(canvas: Canvas, sheet: Image.Image) -> None:
    """Shrinks a sheet of twice the size and lays it over the canvas, in place."""
    pixels = np.asarray(sheet.convert("RGBa").reduce(2), np.float32)
    canvas *= 1 - pixels[..., 3:] / 255
    canvas += pixels[..., :3]


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(str(FONT), FONT_SIZE)
    except OSError as error:
        raise MissingFont(MissingFont.__doc__) from error


@lru_cache(maxsize=1024)
def pictogram(character: str) -> Image.Image:
    """The glyph cut to its outline, in premultiplied RGBA: resizing straight alpha leaves white halos."""
    sheet = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(sheet).text((10, 10), character, font=_font(), embedded_color=True)
    return sheet.crop(sheet.getbbox()).convert("RGBa")


def stamp(
    canvas: Canvas,
    glyph: Image.Image,
    left: float,
    base: float,
    size: tuple[int, int],
    light: Colour,
    shadow: float,
) -> None:
    """Sets a glyph of `size` (width, height) on the line `base` (pixels), with a soft shadow under it."""
    height, width = canvas.shape[:2]
    if shadow:
        _shade(canvas, (left + size[0] / 2, base), size, shadow)
    pixels = np.asarray(glyph.resize(size, Image.Resampling.BICUBIC), np.float32)
    x, y = round(left), round(base) - size[1]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + size[0], width), min(y + size[1], height)
    if x0 < x1 and y0 < y1:
        part = pixels[y0 - y : y1 - y, x0 - x : x1 - x]
        target = canvas[y0:y1, x0:x1]
        target *= 1 - part[..., 3:] / 255
        target += part[..., :3] * np.asarray(light, np.float32)


def _shade(canvas: Canvas, foot: tuple[float, float], size: tuple[int, int], strength: float) -> None:
    height, width = canvas.shape[:2]
    reach = (size[0] * 0.42, size[1] * 0.075)
    x0, x1 = max(0, int(foot[0] - 2 * reach[0])), min(width, int(foot[0] + 2 * reach[0]) + 1)
    y0, y1 = max(0, int(foot[1] - 3 * reach[1])), min(height, int(foot[1] + 3 * reach[1]) + 1)
    if x0 < x1 and y0 < y1:
        spot = glow(y1 - y0, x1 - x0, (foot[0] - x0, foot[1] - size[1] * 0.02 - y0), reach)
        canvas[y0:y1, x0:x1] *= 1 - strength * spot[..., None]


def vignette(canvas: Canvas, strength: float) -> None:
    """Darkens the corners a little, in place."""
    height, width = canvas.shape[:2]
    light = glow(height, width, (width / 2, height / 2), (width * 0.9, height * 0.9))
    canvas *= (1 - strength + strength * light)[..., None]


def tinted(colour: Colour, factor: Colour) -> Colour:
    """The colour under a coloured light."""
    return (colour[0] * factor[0], colour[1] * factor[1], colour[2] * factor[2])


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour, the rest of the one."""
    return tuple(a + share * (b - a) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def jitter(rng: Random, colour: Colour, amount: float = 12) -> Colour:
    """A neighbour of the colour."""
    return tuple(float(np.clip(c + rng.normal(0, amount), 0, 255)) for c in colour)  # type: ignore[return-value]


def crescent(height: int, width: int, centre: tuple[float, float], radius: float, phase: float) -> Mask:
    """A moon: the disc without a second disc that is shifted by `phase` radii; 0 = full."""
    full = disc(height, width, centre, radius)
    if not phase:
        return full
    angle = math.radians(-30)
    shift = (centre[0] + phase * radius * math.cos(angle), centre[1] + phase * radius * math.sin(angle))
    return full * (1 - disc(height, width, shift, radius))
