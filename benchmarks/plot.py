"""A scatter plot with nothing but Pillow: CPU per query (logarithmic) against recall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 1280, 760, 90, 50, 30, 70
COLOURS = {"Loupe": "#c2410c", "recipe": "#475569", "flat": "#0f766e"}
OTHER = "#6d28d9"
LOWEST = 0.7


def scatter(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """One point a row: `cpu_ms`, `recall` and `method` beside it; what lies below 0.7 is left out."""
    rows = [row for row in rows if row["cpu_ms"] and row["recall"] != "" and row["recall"] >= LOWEST]
    if not rows:
        return
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    logs = [math.log10(row["cpu_ms"]) for row in rows]
    low, high = math.floor(min(logs) * 4) / 4 - 0.05, math.ceil(max(logs) * 4) / 4 + 0.35

    def place(cpu_log: float, share: float) -> tuple[float, float]:
        across = LEFT + (cpu_log - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (1 - share) / (1 - LOWEST) * (HEIGHT - TOP - BOTTOM)

    _grid(draw, font, place, low, high)
    draw.text((LEFT, 15), title, "black", ImageFont.load_default(20))
    draw.text((WIDTH // 2 - 120, HEIGHT - 30), "CPU milliseconds per query", "black", font)
    taken: list[tuple[float, float, float, float]] = []
    for row, log in sorted(zip(rows, logs, strict=True), key=lambda pair: -pair[0]["recall"]):
        colour = COLOURS.get(row["method"].split()[0], OTHER)
        x, y = place(log, row["recall"])
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
        draw.text(_free(draw, font, row["method"], x + 9, y - 9, taken), row["method"], colour, font)
    picture.save(path)


def _free(draw: Any, font: Any, text: str, x: float, y: float, taken: list[Any]) -> tuple[float, float]:
    """Where the label meets no other one, as near to its point as possible."""
    while True:
        box = draw.textbbox((x, y), text, font=font)
        if all(box[2] < a or c < box[0] or box[3] < b or d < box[1] for a, b, c, d in taken):
            taken.append(box)
            return x, y
        y += 4


def _grid(draw: Any, font: Any, place: Any, low: float, high: float) -> None:
    for cpu in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        if low <= math.log10(cpu) <= high:
            x, top = place(math.log10(cpu), 1)
            draw.line((x, top, x, HEIGHT - BOTTOM), "#e2e8f0")
            draw.text((x - 10, HEIGHT - BOTTOM + 8), f"{cpu:g}", "black", font)
    for share in (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0):
        _x, y = place(low, share)
        draw.line((LEFT, y, WIDTH - RIGHT, y), "#e2e8f0")
        draw.text((30, y - 9), f"{share:.2f}", "black", font)
    draw.text((10, TOP - 28), "recall@50", "black", font)
