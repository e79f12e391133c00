"""Random small pictures for training and evaluation, with their facts. A pool of backgrounds keeps it fast."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.demo.drawing import draw_falling, draw_plain, draw_scene
from search.demo.lexicon import things
from search.demo.painting import Colour, Random, pictogram, stamp
from search.demo.scene import COLOURS, PLACES, TIMES, WEATHERS, Scene
from search.demo.world import Facts

SIDE = 96
SHAPES = ((96, 96), (96, 96), (144, 96), (96, 144), (128, 96), (96, 128))
Pixels = NDArray[np.uint8]  # [96, 96, 3]


@dataclass(frozen=True)
class Mix:
    """What to draw: range of object sizes (shares of the side), shares of scenes, pairs and empty pictures."""

    small: float = 0.25
    large: float = 0.66
    scenes: float = 0.75
    pairs: float = 0.27
    empty: float = 0.1


def curriculum(progress: float) -> Mix:
    """From large single objects on plain colours to the full world; `progress` 0 to 1."""
    p = min(1.0, max(0.0, progress))
    return Mix(0.8 - 0.55 * p, 0.98 - 0.32 * p, 0.1 + 0.65 * p, 0.27 * p, 0.06 + 0.04 * p)


def random_setting(rng: Random) -> Facts:
    """A place, a time and a weather that go together; snow in the desert does not."""
    place = int(rng.integers(1, len(PLACES)))
    weather = int(rng.choice([1, 1, 2, 3]))
    if PLACES[place] == "desert" and WEATHERS[weather] == "snow":
        weather = 1
    return Facts((), place, int(rng.integers(1, len(TIMES))), weather, 0)


class Painter:
    """Draws pictures from one random stream; the same seed gives the same pictures."""

    def __init__(self, seed: int, pool: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._scenes = [self._scene() for _ in range(pool)]
        self._plains = [self._plain() for _ in range(max(40, pool // 4))]

    def _scene(self) -> tuple[Scene, Facts]:
        facts = random_setting(self.rng)
        width, height = SHAPES[self.rng.integers(len(SHAPES))]
        names = (PLACES[facts.place], TIMES[facts.time], WEATHERS[facts.weather])
        return _cut(draw_scene(self.rng, width, height, *names)), facts

    def _plain(self) -> tuple[Scene, Facts]:
        colour = int(self.rng.integers(1, len(COLOURS)))
        return _cut(draw_plain(self.rng, SIDE, SIDE, list(COLOURS)[colour])), Facts((), background=colour)

    def refresh(self, count: int) -> None:
        """Replaces some backgrounds of the pool by new ones."""
        for _ in range(count):
            self._scenes[self.rng.integers(len(self._scenes))] = self._scene()
        self._plains[self.rng.integers(len(self._plains))] = self._plain()

    def paint(self, mix: Mix) -> tuple[Pixels, Facts]:
        """One picture."""
        rng = self.rng
        pool = self._scenes if rng.random() < mix.scenes else self._plains
        background, facts = pool[rng.integers(len(pool))]
        canvas = background.pixels.astype(np.float32)
        if rng.random() < 0.5:
            canvas = np.ascontiguousarray(canvas[:, ::-1])
        scene = replace(background, rng=rng, pixels=canvas)
        count = 0 if rng.random() < mix.empty else 1 + int(rng.random() < mix.pairs)
        numbers = tuple(int(n) for n in rng.choice(len(things()), count, replace=False))
        self._place(scene, numbers, mix)
        if numbers and scene.weather in ("rain", "snow") and rng.random() < 0.5:
            draw_falling(scene, 0.25)
        return finish(canvas, rng), replace(facts, objects=numbers)

    def _place(self, scene: Scene, numbers: tuple[int, ...], mix: Mix) -> None:
        rng = self.rng
        lanes = [(0.0, 1.0)] if len(numbers) == 1 else [(-0.04, 0.54), (0.46, 1.04)]
        if len(lanes) == 2 and rng.random() < 0.5:
            lanes.reverse()
        for number, (left, right) in zip(numbers, lanes, strict=False):
            share = rng.uniform(mix.small, mix.large)
            share = min(share, 1.12 * (right - left)) if len(lanes) == 2 else share
            size = fitted(number, share * SIDE, rng)
            x = _between(rng, left * SIDE, right * SIDE - size[0])
            base = _between(rng, size[1] + 0.02 * SIDE, 0.98 * SIDE)
            glyph, light = pictogram(things()[number].character), jitter_light(scene.light, rng)
            stamp(scene.pixels, glyph, x, base, size, light, float(rng.choice([0.0, 0.3, 0.4])))


def jitter_light(light: Colour, rng: Random) -> Colour:
    """The light with a little of another colour in it."""
    red, green, blue = rng.uniform(0.9, 1.06, 3)
    return light[0] * red, light[1] * green, light[2] * blue


def fitted(number: int, longest: float, rng: Random) -> tuple[int, int]:
    """Width and height of a pictogram whose longer side is `longest`, with a slight stretch."""
    glyph = pictogram(things()[number].character)
    scale = longest / max(glyph.size)
    stretch = rng.uniform(0.92, 1.08)
    return max(8, round(glyph.width * scale * stretch)), max(8, round(glyph.height * scale / stretch))


def _between(rng: Random, low: float, high: float) -> float:
    return float(rng.uniform(min(low, high), max(low, high)))


def _cut(scene: Scene) -> Scene:
    """The middle square, kept as bytes."""
    top, left = (scene.height - SIDE) // 2, (scene.width - SIDE) // 2
    square = np.clip(scene.pixels[top : top + SIDE, left : left + SIDE], 0, 255).astype(np.uint8)
    return replace(scene, pixels=square)  # type: ignore[arg-type]


def finish(canvas: NDArray[np.float32], rng: Random) -> Pixels:
    """The camera: exposure, contrast and, now and then, noise or a little blur."""
    canvas = (canvas - 128) * rng.uniform(0.88, 1.08) + 128 + rng.uniform(-12, 10)
    kind = rng.random()
    if kind < 0.12:
        canvas = canvas + rng.normal(0, rng.uniform(3, 12), canvas.shape).astype(np.float32)
    elif kind < 0.3:
        canvas[1:-1, 1:-1] = 0.4 * canvas[1:-1, 1:-1] + 0.15 * (
            canvas[:-2, 1:-1] + canvas[2:, 1:-1] + canvas[1:-1, :-2] + canvas[1:-1, 2:]
        )
    return np.clip(canvas, 0, 255).astype(np.uint8)
