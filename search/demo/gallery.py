"""The sample gallery: several hundred drawn pictures with titles, dates and facts, the same on every run.

`python -m search.demo.gallery`, or `manage.py make_demo_gallery`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from search.demo.arranging import compose, scene_for
from search.demo.lexicon import Thing, by_name, rows
from search.demo.painting import Random
from search.demo.scene import Scene

GALLERY = Path(__file__).with_name("gallery")
SEED = 90_210_000  # far from every seed of training and evaluation
SHAPES = ((900, 600), (900, 600), (720, 720), (600, 900), (840, 630))
ROLES = ("owner", "editor", "editor", "contributor")
FIRST_DAY = datetime(2021, 10, 1, tzinfo=UTC)
LAST_DAY = FIRST_DAY + timedelta(days=5 * 365)
QUALITY = 80
FLAWS = ("blurred", "dark", "noisy")


class ForeignFolder(ValueError):
    """The folder holds something other than a gallery, and a gallery replaces its folder: choose another one."""


@dataclass(frozen=True)
class Shot:
    """One picture to be made."""

    number: int
    collection: str
    visibility: str
    homes: str
    subjects: tuple[Thing, ...]
    flaw: str = ""
    twin_of: int | None = None


def shots() -> Iterator[Shot]:
    """The plan of the gallery, in order; in the drafts some pictures are flawed or taken twice."""
    number = 0
    for collection, visibility, count, _, cell in rows("gallery.tsv"):
        wanted = cell.split(",")
        for position in range(int(count)):
            homes, _, names = wanted[position % len(wanted)].partition(":")
            subjects = tuple(by_name()[name] for name in names.split("+") if name)
            shot = Shot(number, collection, visibility, homes, subjects)
            if visibility == "private" and 12 <= position < 24:
                shot = replace(shot, flaw=FLAWS[position % 3])
            elif visibility == "private" and position >= 24:
                shot = replace(shot, twin_of=number - 24)
            elif number % 61 == 60:
                shot = replace(shot, flaw=FLAWS[number // 61 % 3])
            yield shot
            number += 1


def paint(
    shot: Shot, previous: "dict[int, Shot] | None" = None
) -> tuple[Image.Image, Scene, tuple[Thing, ...]]:
    """The picture, its scene and the things in it. A twin is its elder with another exposure and crop."""
    if shot.twin_of is not None and previous:
        picture, scene, things = paint(previous[shot.twin_of])
        width, height = picture.size
        box = (width // 60, height // 60, width - width // 45, height - height // 50)
        return (
            picture.crop(box).resize((width, height)).point(lambda v: min(255, int(v * 1.06))),
            scene,
            things,
        )
    rng = np.random.default_rng(SEED + shot.number)
    width, height = SHAPES[rng.integers(len(SHAPES))]
    scene = scene_for(rng, width, height, shot.homes, bool(shot.subjects))
    compose(scene, shot.subjects, shot.homes)
    pixels = np.clip(scene.pixels, 0, 255).astype(np.uint8)
    return _flawed(Image.fromarray(pixels), shot.flaw, rng), scene, shot.subjects


def _flawed(picture: Image.Image, flaw: str, rng: Random) -> Image.Image:
    if flaw == "blurred":
        return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(6, 9))))
    if flaw == "dark":
        return picture.point(lambda value: int(value * 0.2))
    if flaw == "noisy":
        pixels = np.asarray(picture.resize((picture.width // 3, picture.height // 3)), np.float32)
        pixels = np.clip(pixels + rng.normal(0, 42, pixels.shape), 0, 255).astype(np.uint8)
        return Image.fromarray(pixels).resize(picture.size, Image.Resampling.NEAREST)
    return picture


def described(shot: Shot, scene: Scene, things: tuple[Thing, ...], file: str) -> dict[str, object]:
    """The row of the manifest."""
    rng = np.random.default_rng(SEED + 500_000 + shot.number)
    caption = sentence(scene, things)
    named = bool(rng.random() < 0.72)
    return {
        "file": file,
        "title": headline(scene, things) if named else "",
        "caption": caption if named and rng.random() < 0.7 else "",
        "tags": tags(scene, things) if named else [],
        "taken_at": taken_at(rng, scene),
        "uploader": str(rng.choice(ROLES)),
        "collection": shot.collection,
        "facts": {
            "objects": [thing.name for thing in things],
            "place": scene.place,
            "time": scene.time,
            "weather": scene.weather,
            "background": scene.background,
            "quality": "poor" if shot.flaw else "good",
            "flaw": shot.flaw,
        },
    }


PLACE_PHRASES = {
    "sea": "at sea",
    "beach": "on the beach",
    "mountains": "in the mountains",
    "forest": "in the forest",
    "desert": "in the desert",
    "city": "in the city",
    "meadow": "in a meadow",
    "plain": "",
}
TIME_PHRASES = {"sunset": "at sunset", "night": "at night"}
WEATHER_PHRASES = {"rain": "in the rain", "snow": "in the snow"}
PLACE_TITLES = {
    "sea": "The open sea",
    "beach": "A quiet beach",
    "mountains": "Mountain range",
    "forest": "Edge of the forest",
    "desert": "Dunes",
    "city": "Skyline",
    "meadow": "Green hills",
    "plain": "Backdrop",
}


def _article(name: str) -> str:
    if name in (
        "books",
        "scissors",
        "sunglasses",
        "french fries",
        "grapes",
        "cherries",
        "pancakes",
        "spaghetti",
    ):
        return name
    return ("an " if name[0] in "aeiou" and not name.startswith("uni") else "a ") + name


def headline(scene: Scene, things: tuple[Thing, ...]) -> str:
    """A short title: the things and the place."""
    if not things:
        words = [
            PLACE_TITLES[scene.place],
            TIME_PHRASES.get(scene.time, ""),
            WEATHER_PHRASES.get(scene.weather, ""),
        ]
    else:
        words = [
            " and ".join(thing.name for thing in things),
            PLACE_PHRASES[scene.place],
            TIME_PHRASES.get(scene.time, ""),
        ]
    text = " ".join(word for word in words if word)
    return text[0].upper() + text[1:]


def sentence(scene: Scene, things: tuple[Thing, ...]) -> str:
    """All facts in one English sentence."""
    subject = " and ".join(_article(thing.name) for thing in things) or PLACE_TITLES[scene.place].lower()
    where = PLACE_PHRASES[scene.place] if things else ""
    where = where or (f"on a {scene.background} background" if scene.background != "none" else "")
    when = TIME_PHRASES.get(
        scene.time, "on a bright day" if scene.time == "day" and scene.weather == "clear" else ""
    )
    words = (subject, where, when, WEATHER_PHRASES.get(scene.weather, ""))
    text = " ".join(word for word in words if word)
    return f"{text[0].upper()}{text[1:]}."


def tags(scene: Scene, things: tuple[Thing, ...]) -> list[str]:
    """Names, groups, place, time and weather, each once."""
    found = [word for thing in things for word in (thing.name, thing.group)]
    found += [
        word
        for word in (scene.place, scene.time, scene.weather)
        if word not in ("plain", "none", "clear", "day")
    ]
    return list(dict.fromkeys(found))


def taken_at(rng: Random, scene: Scene) -> str:
    """A moment that fits: snow falls in winter, sunsets are in the evening."""
    day = FIRST_DAY + timedelta(days=int(rng.integers((LAST_DAY - FIRST_DAY).days)))
    if scene.weather == "snow":
        day = day.replace(month=int(rng.choice([1, 2, 12])), day=min(day.day, 28))
        if day >= LAST_DAY:
            day = day.replace(year=day.year - 1)
    hours = {"day": (9, 16), "sunset": (18, 20), "night": (21, 23), "none": (9, 19)}[scene.time]
    moment = day.replace(
        hour=int(rng.integers(*hours)), minute=int(rng.integers(60)), second=int(rng.integers(60))
    )
    return moment.isoformat().replace("+00:00", "Z")


def make(out: Path = GALLERY) -> int:
    """Draws the gallery anew into `out` with its manifest and its queries; returns the number of pictures."""
    from search.demo.questions import labelled_queries

    if out.is_dir() and any(path.suffix not in (".webp", ".jsonl") for path in out.iterdir()):
        raise ForeignFolder(ForeignFolder.__doc__)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    manifest: list[dict[str, object]] = []
    done: dict[int, Shot] = {}
    for shot in shots():
        picture, scene, things = paint(shot, done)
        done[shot.number] = shot
        slug = shot.collection.lower().replace(" & ", "-").replace(" ", "-")
        file = f"{slug}-{shot.number:03d}.webp"
        picture.save(out / file, quality=QUALITY, method=6)
        manifest.append(described(shot, scene, things, file))
    write_rows(out / "manifest.jsonl", manifest)
    write_rows(out / "queries.jsonl", labelled_queries(manifest))
    return len(manifest)


def collections() -> list[dict[str, str]]:
    """Name, visibility and description of every collection of the gallery."""
    return [
        {"name": name, "visibility": seen, "description": text}
        for name, seen, _, text, _ in rows("gallery.tsv")
    ]


def write_rows(path: Path, found: list[dict[str, object]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, object]]:
    """JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    make()
