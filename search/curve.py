"""The calibration of an evaluation as a picture: how often a match of so much was right. Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

SIDE, LEFT, TOP, BOTTOM = 720, 80, 60, 90
INK, GRID, CURVE, PROMISE = "#1e293b", "#e2e8f0", "#c2410c", "#0f766e"
Table = Sequence[tuple[float, float, int, float, float]]


def place(match: float, right: float) -> tuple[float, float]:
    """Pixels of a point; both values lie in 0–1, and 0, 0 is at the bottom left."""
    return LEFT + match * SIDE, TOP + (1 - right) * SIDE


def draw_curve(table: Table, title: str, path: Path) -> None:
    """Rows of (from, to, results, mean match, share right). On the diagonal a match says exactly how often it is
    right, above it a match promises too little; the area of a point grows with the results behind it."""
    picture = Picture.new("RGB", (LEFT + SIDE + 40, TOP + SIDE + BOTTOM), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    _grid(draw, font)
    draw.text((LEFT, 18), title, INK, ImageFont.load_default(20))
    points = [place(mean, right) for _low, _high, _count, mean, right in table]
    draw.line(points, CURVE, 3)
    most = max((count for _low, _high, count, _mean, _right in table), default=1)
    for (x, y), row in zip(points, table, strict=True):
        radius = 4 + 12 * (row[2] / most) ** 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), CURVE)
        draw.text((x + radius + 4, y - 8), f"{row[2]}", INK, font)
    picture.save(path, "PNG")


def _grid(draw: Any, font: Any) -> None:
    for tenth in range(0, 11, 2):
        share = tenth / 10
        draw.line((*place(share, 0), *place(share, 1)), GRID)
        draw.line((*place(0, share), *place(1, share)), GRID)
        x, y = place(share, 0)
        draw.text((x - 10, y + 8), f"{share:.1f}", INK, font)
        draw.text((LEFT - 40, place(0, share)[1] - 8), f"{share:.1f}", INK, font)
    draw.line((*place(0, 0), *place(1, 1)), "#94a3b8", 2)
    draw.line((*place(0.8, 0.75), *place(1, 0.75)), PROMISE, 3)
    draw.text((place(0.8, 0)[0], place(0, 0.75)[1] + 6), "promised", PROMISE, font)
    draw.text(
        (LEFT + SIDE // 2 - 150, TOP + SIDE + 40),
        "match shown, and the share of results that were right",
        INK,
        font,
    )
