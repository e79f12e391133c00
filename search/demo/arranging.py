"""Puts things where they belong: boats on the water, planes in the air, camels on the sand, cups on the table."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from search.demo.drawing import draw_falling, draw_plain, draw_scene
from search.demo.lexicon import Thing
from search.demo.painting import Random, pictogram, stamp
from search.demo.scene import COLOURS, Scene

HOMES = {
    "b": ("beach",),
    "w": ("sea", "beach"),
    "m": ("mountains",),
    "f": ("forest",),
    "d": ("desert",),
    "c": ("city",),
    "g": ("meadow",),
    "n": ("mountains", "forest", "meadow"),
    "a": ("sea", "mountains", "meadow", "city", "desert"),
}
TIMES = ("day", "day", "day", "sunset", "sunset", "night")
WEATHERS = ("clear", "clear", "clear", "clear", "rain", "snow")
PLAINS = tuple(name for name in COLOURS if name not in ("none", "black"))


def scene_for(rng: Random, width: int, height: int, homes: str, peopled: bool) -> Scene:
    """A scene at one of the homes; empty ones are of every time and weather."""
    home = str(rng.choice(list(homes)))
    if home == "p":
        return draw_plain(rng, width, height, str(rng.choice(PLAINS)))
    place = str(rng.choice(HOMES[home]))
    weather = str(rng.choice(WEATHERS if not peopled or home in "cmf" else WEATHERS[:5]))
    if home == "n":
        weather = "snow"
    elif (
        weather == "snow" and (place in ("desert", "sea", "beach") or ("n" not in homes and home in "gdwb"))
    ) or (weather == "rain" and place == "desert"):
        weather = "clear"
    time = str(rng.choice(TIMES))
    if time == "sunset" and weather != "clear" and rng.random() < 0.75:  # a covered sunset is a dull one
        time = "day"
    return draw_scene(rng, width, height, place, time, weather)


def compose(scene: Scene, things: tuple[Thing, ...], homes: str) -> None:
    """Sets up to two things into the scene; the far one first, so that the near one may cover it a little."""
    mode = _mode(scene, homes)
    order = list(things)
    if len(order) == 2 and scene.rng.random() < 0.5:
        order.reverse()
    places = [_spot(scene, thing, slot, len(order), mode) for slot, thing in enumerate(order)]
    for thing, (x, base, size) in sorted(zip(order, places, strict=True), key=lambda pair: pair[1][1]):
        _set(scene, thing, x, base, size, _mode_of(thing, mode, scene))
    if things:
        draw_falling(scene, 0.2)


def _mode(scene: Scene, homes: str) -> str:
    if scene.place == "plain":
        return "table"
    if "a" in homes:
        return "air"
    return "water" if "w" in homes and scene.place in ("sea", "beach") else "ground"


def _mode_of(thing: Thing, mode: str, scene: Scene) -> str:
    """Things that cannot swim stay on the sand of a picture of water."""
    if mode == "water" and scene.place == "beach" and "w" not in thing.homes:
        return "ground"
    return mode


def _spot(scene: Scene, thing: Thing, slot: int, count: int, mode: str) -> tuple[float, float, int]:
    """Middle (pixels), foot line (pixels) and longest side, inside the middle square that the model sees."""
    rng, short = scene.rng, min(scene.width, scene.height)
    mode = _mode_of(thing, mode, scene)
    low, high = _lines(scene, mode)
    depth = rng.random()
    share = thing.size * (0.92 + 0.24 * depth) * (1.3 if mode == "table" else 1.0)
    share = min(share, 0.44 if count == 2 else 0.56)
    size = int(share * short)
    left, right = (scene.width - short) / 2, (scene.width + short) / 2
    if count == 2:
        centre = left + short * (0.27 + 0.46 * slot) + rng.uniform(-0.02, 0.02) * short
    else:
        centre = (
            left + short * float(rng.choice([0.36, 0.42, 0.5, 0.58, 0.64])) + rng.uniform(-0.03, 0.03) * short
        )
    centre = float(np.clip(centre, left + size / 2 + 4, right - size / 2 - 4))
    floor = (scene.height + short) / 2 - 0.015 * short
    base = min((low + (high - low) * depth) * scene.height, floor)
    ceiling = (scene.height - short) / 2 + size
    return centre, max(base, ceiling), size


def _lines(scene: Scene, mode: str) -> tuple[float, float]:
    """The band of foot lines as shares of the height."""
    if mode == "air":
        return 0.3, max(0.36, scene.horizon - 0.08)
    if mode == "water":
        return scene.horizon + 0.12, min(scene.horizon + 0.3, 0.74 if scene.place == "beach" else 0.88)
    return scene.ground


def _set(scene: Scene, thing: Thing, x: float, base: float, longest: int, mode: str) -> None:
    glyph = pictogram(thing.character)
    scale = longest / max(glyph.size)
    size = (max(8, round(glyph.width * scale)), max(8, round(glyph.height * scale)))
    figure = _lit(glyph.resize(size, Image.Resampling.LANCZOS), scene)
    left = x - size[0] / 2
    if mode == "water":
        _reflect(scene, figure, left, base)
        figure = figure.crop((0, 0, size[0], round(size[1] * 0.95)))
        stamp(scene.pixels, figure, left, base, figure.size, scene.light, 0.0)
        return
    shadow = {"air": 0.0, "table": 0.42}.get(
        mode, {"day": 0.42, "sunset": 0.4, "night": 0.5}.get(scene.time, 0.4)
    )
    stamp(scene.pixels, figure, left, base, size, scene.light, shadow)


def _lit(figure: Image.Image, scene: Scene) -> Image.Image:
    """Sharpens the enlarged pictogram and lights it from the sun's side and from above."""
    pixels = np.asarray(figure.filter(ImageFilter.UnsharpMask(1.6, 60, 2)), np.float32)
    height, width = pixels.shape[:2]
    side = 1.0 if scene.sun[0] > scene.width / 2 else -1.0
    across = 1 + 0.05 * side * np.linspace(-1, 1, width)[None, :, None]
    down = np.linspace(1.04, 0.9, height)[:, None, None]
    alpha = pixels[..., 3:]
    colour = np.clip(pixels[..., :3] * across * down, 0, alpha)
    return Image.fromarray(np.concatenate([colour, alpha], 2).astype(np.uint8), "RGBa")


def _reflect(scene: Scene, figure: Image.Image, left: float, base: float) -> None:
    """A faint, rippled mirror image in the water, ending at the beach."""
    rng, height = scene.rng, round(figure.height * 0.5)
    mirror = np.asarray(
        figure.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((figure.width, height)), np.float32
    )
    shifts = np.rint(np.sin(np.arange(height) * 0.55 + rng.uniform(0, 6)) * figure.width * 0.018).astype(int)
    rippled = np.stack([np.roll(row, shift, axis=0) for row, shift in zip(mirror, shifts, strict=True)])
    fade = (0.34 * np.linspace(1, 0, height) ** 1.2)[:, None, None]
    _lay_on_water(
        scene, (rippled * fade).astype(np.float32), round(left), round(base) - round(figure.height * 0.06)
    )


def _lay_on_water(scene: Scene, part: NDArray[np.float32], x: int, y: int) -> None:
    shore = int(0.74 * scene.height) if scene.place == "beach" else scene.height
    x0, x1, y1 = max(x, 0), min(x + part.shape[1], scene.width), min(y + part.shape[0], shore)
    if x0 >= x1 or y >= y1:
        return
    piece = part[: y1 - y, x0 - x : x1 - x]
    target = scene.pixels[y:y1, x0:x1]
    target *= 1 - piece[..., 3:] / 255
    target += piece[..., :3] * np.asarray(scene.light, np.float32)
