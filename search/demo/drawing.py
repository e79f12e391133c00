"""Scenes, drawn at any resolution: eight places at three times of day in three kinds of weather."""

from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

from search.demo.painting import (
    Canvas,
    Colour,
    Random,
    below,
    blend,
    crescent,
    disc,
    glow,
    gradient,
    jitter,
    lay,
    layer,
    mixed,
    noise,
    ridge,
    smooth,
    tinted,
    vignette,
)
from search.demo.scene import COLOURS, SNOW, Scene

_SKIES: dict[str, list[tuple[float, Colour]]] = {
    "day": [(0, (58, 124, 208)), (0.45, (126, 182, 234)), (0.8, (205, 228, 244))],
    "sunset": [(0, (84, 66, 128)), (0.28, (190, 92, 112)), (0.5, (246, 142, 84)), (0.72, (255, 204, 112))],
    "night": [(0, (7, 11, 34)), (0.45, (18, 26, 62)), (0.8, (40, 50, 92))],
}


def draw_plain(rng: Random, width: int, height: int, colour: str) -> Scene:
    """A studio: one colour, a soft light and, mostly, a table edge."""
    base = jitter(rng, COLOURS[colour], 7)
    lift = rng.uniform(0.05, 0.3)
    canvas = gradient(
        height, width, [(0, mixed(base, (255, 255, 255), lift)), (1, tinted(base, (0.88,) * 3))]
    )
    horizon = rng.uniform(0.5, 0.72)
    if rng.random() < 0.7:
        line = np.full(width, horizon * height, np.float32)
        top = tinted(base, (0.8, 0.8, 0.8)) if rng.random() < 0.5 else mixed(base, (255, 255, 255), 0.22)
        blend(
            canvas,
            below(line, height),
            gradient(height, width, [(horizon, tinted(top, (0.85,) * 3)), (1, top)]),
        )
    spot = glow(height, width, (width * rng.uniform(0.3, 0.7), height * 0.45), (width * 0.6, height * 0.5))
    blend(canvas, 0.22 * spot, mixed(base, (255, 255, 255), 0.6))
    vignette(canvas, rng.uniform(0.1, 0.3))
    ground = (horizon + 0.12, 0.92)
    return Scene(rng, np.clip(canvas, 0, 255), "plain", "none", "none", horizon, ground, background=colour)


def draw_scene(rng: Random, width: int, height: int, place: str, time: str, weather: str) -> Scene:
    """Sky, land and what falls from the sky, without any objects."""
    stops = [(y, jitter(rng, colour, 3 if time == "night" else 7)) for y, colour in _SKIES[time]]
    if weather in ("rain", "snow"):
        grey: Colour = (138, 144, 156) if weather == "rain" else (176, 180, 190)
        stops = [(y, mixed(colour, tinted(grey, _overcast(time)), 0.68)) for y, colour in stops]
    scene = Scene(rng, gradient(height, width, stops), place, time, weather)
    _LANDS[place][0](scene)
    _sky(scene)
    _LANDS[place][1](scene)
    vignette(scene.pixels, rng.uniform(0.0, 0.18))
    return scene


def _overcast(time: str) -> Colour:
    return {"day": (1.0, 1.0, 1.0), "sunset": (0.92, 0.72, 0.72), "night": (0.3, 0.33, 0.46)}[time]


def _sky(scene: Scene) -> None:
    """Stars, sun or moon, clouds."""
    rng, canvas, size = scene.rng, scene.pixels, min(scene.width, scene.height)
    low = scene.horizon - (0.03 if scene.time == "sunset" else 0.3)
    x = rng.uniform(0.15, 0.85) * scene.width
    y = (
        rng.uniform(low - 0.1, low) if scene.time == "sunset" else rng.uniform(0.08, max(0.12, low))
    ) * scene.height
    scene.sun = (x, y)
    if scene.weather == "clear":
        if scene.time == "night":
            _stars(scene)
        _shine(scene, x, y, size)
    amount = rng.uniform(0.3, 0.62) if scene.weather == "clear" else rng.uniform(0.75, 0.95)
    cover = noise(rng, scene.width, scene.height, (int(rng.integers(2, 5)), int(rng.integers(3, 7))), 5)
    fade = np.clip(1.25 - np.arange(scene.height) / (scene.horizon * scene.height), 0, 1)[:, None]
    cloud = np.clip((cover - 0.95 + amount * 0.72) * 3.2, 0, 1) * np.sqrt(fade)
    colours: dict[str, Colour] = {"day": (255, 255, 255), "sunset": (255, 176, 150), "night": (54, 62, 96)}
    colour = colours[scene.time]
    if scene.weather != "clear":
        colour = mixed(colour, tinted((168, 173, 184), _overcast(scene.time)), 0.75)
    blend(canvas, (0.82 * cloud).astype(np.float32), colour)


def _shine(scene: Scene, x: float, y: float, size: int) -> None:
    canvas, rng = scene.pixels, scene.rng
    if scene.time == "night":
        blend(canvas, 0.25 * glow(scene.height, scene.width, (x, y), (size * 0.16,) * 2), (190, 200, 235))
        phase = float(rng.choice([0.0, 0.55, 0.8]))
        blend(
            canvas,
            crescent(scene.height, scene.width, (x, y), size * rng.uniform(0.035, 0.055), phase),
            (250, 246, 224),
        )
        return
    warm: Colour = (255, 250, 222) if scene.time == "day" else (255, 214, 128)
    reach = size * (0.3 if scene.time == "day" else 0.42)
    blend(canvas, 0.62 * glow(scene.height, scene.width, (x, y), (reach, reach)), warm)
    radius = size * (rng.uniform(0.04, 0.055) if scene.time == "day" else rng.uniform(0.06, 0.09))
    blend(canvas, disc(scene.height, scene.width, (x, y), radius), mixed(warm, (255, 255, 255), 0.35))


def _stars(scene: Scene) -> None:
    rng, size = scene.rng, min(scene.width, scene.height)
    sheet, pen = layer(scene.width, scene.height)
    for _ in range(int(rng.integers(30, 80))):
        x, y = rng.random() * 2 * scene.width, rng.random() * 2 * scene.horizon * scene.height
        r = size * rng.uniform(0.0012, 0.0042)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 240, int(rng.uniform(70, 240))))
    lay(scene.pixels, sheet)


# --- where the horizon is: needed before the sky -----------------------------------------------------------


def _level(low: float, high: float, ground: tuple[float, float]) -> Callable[[Scene], None]:
    def level(scene: Scene) -> None:
        scene.horizon = scene.rng.uniform(low, high)
        scene.ground = ground

    return level


# --- lands -------------------------------------------------------------------------------------------------


def _water(scene: Scene) -> None:
    rng, height, width = scene.rng, scene.height, scene.width
    top = int(scene.horizon * height)
    far, near = jitter(rng, (84, 152, 200)), jitter(rng, (22, 84, 150))
    if scene.time == "sunset":
        far, near = (206, 138, 122), (116, 66, 92)
    water = gradient(height, width, [(scene.horizon, far), (1, near)])
    water *= (
        np.asarray(scene.tone((255, 255, 255)) if scene.time != "sunset" else (235, 235, 235), np.float32)
        / 255
    )
    waves = noise(rng, width, height, (4, 40), 3) - 0.5
    water += 46 * waves[..., None] * (1.0 if scene.time == "day" else 0.6)
    if scene.weather == "clear":
        _glitter(scene, water, top)
    scene.pixels[top:] = np.clip(water, 0, 255)[top:]


def _glitter(scene: Scene, water: Canvas, top: int) -> None:
    """The path of light under a low sun or the moon."""
    strength = {"day": 0.28, "sunset": 0.8, "night": 0.4}[scene.time]
    colour: Colour = {"day": (255, 255, 245), "sunset": (255, 208, 130), "night": (190, 205, 235)}[scene.time]  # type: ignore[assignment]
    spread = scene.width * (0.05 + 0.1 * np.linspace(0, 1, scene.height))[:, None]
    path = np.exp(-(((np.arange(scene.width)[None, :] - scene.sun[0]) / spread) ** 2))
    broken = np.clip(noise(scene.rng, scene.width, scene.height, (10, 60), 2) * 2.6 - 0.7, 0, 1)
    blend(water, (strength * path * broken).astype(np.float32), colour)


def _sea(scene: Scene) -> None:
    _water(scene)
    _falling(scene)


def _beach(scene: Scene) -> None:
    _water(scene)
    rng, height, width = scene.rng, scene.height, scene.width
    line = (rng.uniform(0.74, 0.8) + 0.035 * smooth(ridge(rng, width, 3, 2), 0.08)) * height
    foam = below(line - 0.012 * height, height)
    blend(scene.pixels, 0.7 * foam, scene.tone((245, 250, 252)))
    sand = scene.tone(jitter(rng, (228, 200, 150), 8), 0.8)
    blend(scene.pixels, below(line.astype(np.float32), height), sand)
    grain = noise(rng, width, height, (14, 20), 3) - 0.5
    scene.pixels += 22 * grain[..., None] * below(line.astype(np.float32), height)[..., None]
    _falling(scene)


def _mountains(scene: Scene) -> None:
    rng, height, width = scene.rng, scene.height, scene.width
    haze = scene.pixels[int(scene.horizon * height) - 1].mean(0)
    rock = jitter(rng, (86, 92, 106), 10)
    for depth, (level, swing) in enumerate(((0.4, 0.24), (0.54, 0.16), (0.67, 0.08))):
        line = (level + rng.uniform(-0.03, 0.03) - swing * ridge(rng, width, 4 + depth, 6, 0.52)) * height
        colour = mixed(
            scene.tone(tinted(rock, (1 - 0.12 * depth,) * 3), 0.35), tuple(haze), 0.5 - 0.2 * depth
        )
        mask = below(line, height)
        blend(scene.pixels, mask, colour)
        _relief(scene, mask, 26 - 4 * depth)
        if scene.weather == "snow":
            cap = np.clip(1 - (np.arange(height)[:, None] - line[None, :]) / (0.09 * height), 0, 1) * mask
            rough = np.clip(noise(rng, width, height, (12, 8), 3) * 3.2 - 0.9, 0, 1)
            blend(scene.pixels, (np.sqrt(cap) * rough).astype(np.float32), scene.tone(SNOW, 1))
    _foreground(scene, 0.78, (92, 120, 74), 0.85)
    _falling(scene)


def _relief(scene: Scene, mask: np.ndarray, strength: float) -> None:
    """Light and shadow on a slope."""
    texture = noise(scene.rng, scene.width, scene.height, (9, 7), 4) - 0.5
    dim = {"day": 1.0, "sunset": 0.7, "night": 0.25}[scene.time]
    scene.pixels += (strength * 2 * dim) * (texture * mask)[..., None]


def _foreground(scene: Scene, level: float, colour: Colour, snowy: float) -> None:
    rng, height, width = scene.rng, scene.height, scene.width
    line = ((level + 0.03 * smooth(ridge(rng, width, 3, 2), 0.06)) * height).astype(np.float32)
    mask = below(line, height)
    near = scene.tone(jitter(rng, colour), snowy)
    blend(
        scene.pixels, mask, gradient(height, width, [(level, mixed(near, (255, 255, 255), 0.06)), (1, near)])
    )
    _relief(scene, mask, 13)


def _forest(scene: Scene) -> None:
    rng = scene.rng
    conifer = bool(rng.random() < 0.6)
    haze = tuple(scene.pixels[int(scene.horizon * scene.height) - 1].mean(0))
    rows = ((0.66, 0.34, 0.45, 17), (0.73, 0.46, 0.18, 11), (0.82, 0.6, 0.0, 7))
    for level, tall, fog, count in rows:
        _foreground(scene, level, (72, 100, 58), 0.9)
        leaf = mixed(scene.tone(jitter(rng, (44, 98, 56), 9), 0.12), haze, fog)
        _trees(
            scene, level + 0.02, tall * 0.8, int(count * max(1.0, scene.width / scene.height)), leaf, conifer
        )
    _foreground(scene, 0.84, (86, 112, 62), 0.9)
    _falling(scene)


def _trees(scene: Scene, level: float, tall: float, count: int, leaf: Colour, conifer: bool) -> None:
    rng, size = scene.rng, 2 * min(scene.width, scene.height)
    sheet, pen = layer(scene.width, scene.height)
    for slot in range(count):
        x = (slot + rng.uniform(-0.1, 1.1)) / count * 2 * scene.width
        base = (level + rng.uniform(-0.01, 0.02)) * 2 * scene.height
        tree = size * tall * rng.uniform(0.55, 1.05)
        shade = tinted(leaf, (rng.uniform(0.82, 1.15),) * 3)
        trunk = scene.tone((84, 62, 46))
        pen.rectangle((x - tree * 0.03, base - tree * 0.4, x + tree * 0.03, base), fill=_ink(trunk))
        (_conifer if conifer else _crown)(scene, pen, x, base, tree, shade)
    lay(scene.pixels, sheet)


def _conifer(
    scene: Scene, pen: ImageDraw.ImageDraw, x: float, base: float, tree: float, leaf: Colour
) -> None:
    for step in range(4):
        bottom, top = base - tree * (0.1 + 0.21 * step), base - tree * (0.46 + 0.2 * step)
        half = tree * (0.27 - 0.055 * step)
        pen.polygon(
            ((x - half, bottom), (x + half, bottom), (x, top)),
            fill=_ink(tinted(leaf, (0.9 + 0.07 * step,) * 3)),
        )
        if scene.weather == "snow":
            cap = half * 0.62
            pen.polygon(
                ((x - cap, top + (bottom - top) * 0.62), (x + cap, top + (bottom - top) * 0.62), (x, top)),
                fill=_ink(scene.tone(SNOW, 1)),
            )


def _crown(scene: Scene, pen: ImageDraw.ImageDraw, x: float, base: float, tree: float, leaf: Colour) -> None:
    for _ in range(7):
        dx, dy = scene.rng.uniform(-0.19, 0.19) * tree, scene.rng.uniform(0.4, 0.82) * tree
        r = tree * scene.rng.uniform(0.12, 0.2)
        colour = tinted(leaf, (0.85 + 0.35 * dy / tree,) * 3)
        pen.ellipse((x + dx - r, base - dy - r, x + dx + r, base - dy + r), fill=_ink(colour))
        if scene.weather == "snow":
            pen.ellipse(
                (x + dx - r * 0.8, base - dy - r, x + dx + r * 0.8, base - dy - r * 0.1),
                fill=_ink(scene.tone(SNOW, 1)),
            )


def _ink(colour: Colour) -> tuple[int, int, int, int]:
    red, green, blue = (int(min(255, max(0, c))) for c in colour)
    return (red, green, blue, 255)


def _desert(scene: Scene) -> None:
    rng, height, width = scene.rng, scene.height, scene.width
    sand = jitter(rng, (222, 172, 104), 10)
    for depth, level in enumerate((0.58, 0.67, 0.79)):
        crest = smooth(ridge(rng, width, 2 + depth % 2, 2), 0.06)
        line = ((level - 0.07 * crest) * height).astype(np.float32)
        mask = below(line, height)
        colour = scene.tone(tinted(sand, (1.04 - 0.06 * depth,) * 3), 0.55)
        blend(scene.pixels, mask, colour)
        lee = np.clip(np.gradient(crest) * width * 0.16, -1, 1)[None, :]
        fade = np.exp(-np.clip(np.arange(height)[:, None] - line[None, :], 0, None) / (0.1 * height))
        dim = {"day": 44.0, "sunset": 36.0, "night": 12.0}[scene.time]
        scene.pixels -= (dim * lee * fade * mask)[..., None] * np.asarray((1, 0.95, 0.8), np.float32)
        ripples = noise(rng, width, height, (3, 60), 2) - 0.5
        scene.pixels += (0.4 * dim * ripples * mask)[..., None]
    _falling(scene)


def _city(scene: Scene) -> None:
    rng, height, width = scene.rng, scene.height, scene.width
    haze = tuple(scene.pixels[int(scene.horizon * height) - 1].mean(0))
    _skyline(scene, 0.32, 0.66, mixed(scene.tone((116, 124, 146)), haze, 0.45), False)
    _skyline(scene, 0.24, 0.56, scene.tone(jitter(rng, (92, 96, 116), 10)), True)
    road = scene.tone(jitter(rng, (82, 84, 90), 5), 0.75)
    line = np.full(width, 0.82 * height, np.float32)
    blend(
        scene.pixels,
        below(line, height),
        gradient(height, width, [(0.82, tinted(road, (1.2,) * 3)), (1, road)]),
    )
    kerb = below(line, height) - below(line + 0.014 * height, height)
    blend(scene.pixels, kerb, scene.tone((170, 170, 172), 0.8))
    sheet, pen = layer(width, height)
    dash, y = 2 * width / 9, 2 * 0.925 * height
    for step in range(10):
        x = (step + rng.random() * 0.1) * dash
        pen.rectangle((x, y, x + dash * 0.5, y + height * 0.016), fill=_ink(scene.tone((226, 222, 200), 0.3)))
    lay(scene.pixels, sheet)
    _falling(scene)


def _skyline(scene: Scene, low: float, high: float, wall: Colour, windows: bool) -> None:
    rng, size = scene.rng, 2 * min(scene.width, scene.height)
    sheet, pen = layer(scene.width, scene.height)
    base, x = 2 * 0.825 * scene.height, -0.05 * size
    while x < 2 * scene.width:
        wide, tall = size * rng.uniform(0.09, 0.19), size * rng.uniform(low, high)
        colour = tinted(wall, tuple(rng.uniform(0.84, 1.16, 3)))
        pen.rectangle((x, base - tall, x + wide, base), fill=_ink(colour))
        pen.rectangle((x + wide * 0.72, base - tall, x + wide, base), fill=_ink(tinted(colour, (0.84,) * 3)))
        if scene.weather == "snow":
            pen.rectangle(
                (x, base - tall - size * 0.008, x + wide, base - tall + size * 0.008),
                fill=_ink(scene.tone(SNOW, 1)),
            )
        if windows:
            _windows(scene, pen, (x, base - tall, x + wide, base), colour)
        x += wide * rng.uniform(0.92, 1.12)
    lay(scene.pixels, sheet)


def _windows(
    scene: Scene, pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float], wall: Colour
) -> None:
    rng, unit = scene.rng, 2 * min(scene.width, scene.height) * 0.021
    lit = {"day": 0.0, "sunset": 0.4, "night": 0.55}[scene.time]
    pane = mixed(wall, (196, 214, 232), 0.42) if scene.time == "day" else tinted(wall, (0.62,) * 3)
    for y in np.arange(box[1] + unit, box[3] - 2 * unit, unit * 1.7):
        for x in np.arange(box[0] + 0.7 * unit, box[2] - unit, unit * 1.5):
            warm = jitter(rng, (255, 214, 128), 14) if rng.random() < lit else pane
            pen.rectangle((x, y, x + unit * 0.75, y + unit), fill=_ink(warm))


def _meadow(scene: Scene) -> None:
    rng, height, width = scene.rng, scene.height, scene.width
    green = jitter(rng, (98, 164, 66), 10)
    for depth, level in enumerate((0.6, 0.67, 0.76)):
        line = ((level - 0.045 * smooth(ridge(rng, width, 2 + depth, 2), 0.07)) * height).astype(np.float32)
        mask = below(line, height)
        far, near = (tinted(green, (shade,) * 3) for shade in (1.12 - 0.1 * depth, 0.92 - 0.08 * depth))
        blend(
            scene.pixels,
            mask,
            gradient(height, width, [(level, scene.tone(far, 0.88)), (1, scene.tone(near, 0.88))]),
        )
        _relief(scene, mask, 11)
    if scene.weather != "snow":
        _blossoms(scene, jitter(rng, (240, 170, 196), 40))
    _falling(scene)


def _blossoms(scene: Scene, petal: Colour) -> None:
    rng, size = scene.rng, 2 * min(scene.width, scene.height)
    sheet, pen = layer(scene.width, scene.height)
    for _ in range(int(rng.integers(30, 120))):
        y = 0.8 + 0.2 * np.sqrt(rng.random())
        x, r = rng.random() * 2 * scene.width, size * (0.002 + 0.024 * (y - 0.78)) * rng.uniform(0.6, 1.1)
        colour = scene.tone(petal if rng.random() < 0.7 else (250, 248, 236))
        pen.ellipse(
            (x - r, 2 * y * scene.height - r * 0.8, x + r, 2 * y * scene.height + r * 0.8), fill=_ink(colour)
        )
    lay(scene.pixels, sheet)


def _falling(scene: Scene) -> None:
    """Rain or snow, in front of the land."""
    draw_falling(scene, 1.0)


def draw_falling(scene: Scene, density: float) -> None:
    """Drops or flakes over everything that is drawn so far."""
    if scene.weather not in ("rain", "snow"):
        return
    rng, size = scene.rng, 2 * min(scene.width, scene.height)
    sheet, pen = layer(scene.width, scene.height)
    count = int(
        rng.uniform(70, 150) * density * max(scene.width, scene.height) / min(scene.width, scene.height)
    )
    slant = rng.uniform(-0.25, 0.25)
    for x, y, near in rng.random((count, 3)):
        left, top = x * 2 * scene.width, y * 2 * scene.height
        if scene.weather == "rain":
            drop = size * (0.03 + 0.04 * near)
            ink = (208, 218, 232, int(70 + 90 * near))
            pen.line(
                (left, top, left + slant * drop, top + drop), fill=ink, width=max(1, round(size * 0.0045))
            )
        else:
            r = size * (0.003 + 0.006 * near)
            pen.ellipse((left - r, top - r, left + r, top + r), fill=(250, 252, 255, int(130 + 110 * near)))
    lay(scene.pixels, sheet)


_LANDS: dict[str, tuple[Callable[[Scene], None], Callable[[Scene], None]]] = {
    "sea": (_level(0.48, 0.6, (0.68, 0.9)), _sea),
    "beach": (_level(0.46, 0.56, (0.84, 0.95)), _beach),
    "mountains": (_level(0.56, 0.62, (0.83, 0.95)), _mountains),
    "forest": (_level(0.6, 0.66, (0.87, 0.96)), _forest),
    "desert": (_level(0.56, 0.62, (0.82, 0.95)), _desert),
    "city": (_level(0.66, 0.7, (0.87, 0.97)), _city),
    "meadow": (_level(0.57, 0.63, (0.8, 0.95)), _meadow),
}
