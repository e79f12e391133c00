"""How well the bundled model, a whole search, or the published index answers."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError

from search import index
from search.curve import draw_curve
from search.encoders import EncoderError, default_model_name, get_encoder, identify
from search.evaluation import Labelled, Report, ask, calibrated, encoded, halves, load, report, scratch
from search.intents import intended
from search.models import CollectionIndex
from search.ranking import Calibration
from search.spaces import shipped_calibration

GALLERY = Path(__file__).resolve().parents[2] / "demo" / "gallery"
DEPTH = 50


class Command(BaseCommand):
    help = "Measure the bundled model (demo_model), the whole search (search) or the live indexes (index)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=["demo_model", "search", "index"])
        parser.add_argument("--dataset", default=str(GALLERY), help="search: a folder of labelled pictures")
        parser.add_argument(
            "--model", default="", help="search: a model by name or folder (default: the configured)"
        )
        parser.add_argument(
            "--words", action="store_true", help="search: let titles and file names answer, too"
        )
        parser.add_argument(
            "--fit", action="store_true", help="search: learn the calibration on every second question"
        )
        parser.add_argument(
            "--write", default="", help="search: learn on all questions and write the calibration here"
        )
        parser.add_argument(
            "--plot", default="", help="search: draw how often a match was right, as a PNG here"
        )
        parser.add_argument("--pictures", type=int, default=1200, help="demo_model: how many new drawings")
        parser.add_argument("--queries", type=int, default=100, help="index: how many questions")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, options["what"])(options)
        except (EncoderError, FileNotFoundError) as error:
            raise CommandError(str(error)) from error

    def demo_model(self, options: dict[str, Any]) -> None:
        from search.demo.evaluation import evaluate, formatted
        from search.encoders import DEMO_DIRECTORY

        rows = evaluate(DEMO_DIRECTORY, options["pictures"])
        self.stdout.write(formatted(rows))
        if missed := [row.metric for row in rows if not row.passed]:
            raise CommandError(f"Below the floor: {', '.join(missed)}")

    def search(self, options: dict[str, Any]) -> None:
        name = options["model"] or default_model_name()
        encoder, data = get_encoder(name), load(Path(options["dataset"]))
        vectors = encoded(data, encoder)
        calibration = Calibration.from_json(shipped_calibration(encoder.spec.name))
        measured = data
        if options["fit"]:
            fitted, measured = halves(data)
            calibration = calibrated(fitted, vectors, encoder, source="every second question")
        if options["write"]:
            calibration = calibrated(
                data,
                vectors,
                encoder,
                source=f"{encoder.spec.label} {encoder.sha256[:12]} on {data.folder.name}",
            )
            Path(options["write"]).write_text(json.dumps(calibration.to_json(), indent=2) + "\n")
        made = self._measured(measured, vectors, name, calibration, options["words"])
        self.stdout.write(made.formatted())
        if options["plot"]:
            draw_curve(made.table, f"{encoder.spec.label} on {data.folder.name}", Path(options["plot"]))

    def _measured(
        self, data: Labelled, vectors: np.ndarray, name: str, calibration: Calibration, words: bool
    ) -> Report:
        with scratch(data, vectors, identify(name), calibration, titles=words) as principal:
            ask(data.asked[:3], principal, words=words)  # opens the views before anything is timed
            measured = report(ask(data.asked, principal, words=words))
            intents = intended(data, principal) if data.facts else {}
            return replace(measured, figures=measured.figures | intents)

    def index(self, options: dict[str, Any]) -> None:
        """Recall of every live generation against exact search, with the gallery's questions as probes."""
        texts = [one.text for one in load(GALLERY).asked][: options["queries"]]
        self.stdout.write("| collection | plan | recall@50 | ms |\n| --- | --- | ---: | ---: |")
        for row in CollectionIndex.objects.filter(live__isnull=False).select_related("space", "collection"):
            probes = get_encoder(row.space.name).encode_texts(texts)
            truth = index.search([row.collection_id], row.space, probes, DEPTH, exact=True)
            began = time.perf_counter()
            hits = [index.search([row.collection_id], row.space, probe, DEPTH) for probe in probes]
            took = (time.perf_counter() - began) * 1000 / len(probes)
            recall = np.mean([_share(hit.ids[0], right) for hit, right in zip(hits, truth.ids, strict=True)])
            self.stdout.write(f"| {row.collection} | {hits[0].plan} | {recall:.4f} | {took:.2f} |")
        for row in CollectionIndex.objects.filter(live__isnull=False).select_related("live", "collection"):
            self.stdout.write(_curve(row))


def _curve(row: CollectionIndex) -> str:
    """What was measured at the build, and since then with live queries."""
    about: dict[str, Any] = row.live.manifest if row.live else {}
    points = [
        f"| {point['effort']} | {point['recall']:.4f} | {point['cpu_ms']:.3f} |"
        + (" chosen" if point["effort"] == about["effort"] else "")
        for point in about.get("curve", [])
    ]
    lines = [f"\n{row.collection}: {about.get('kind')}, probes: {about.get('probes')}"]
    if points:
        lines += ["| effort | recall@50 | CPU ms |", "| ---: | ---: | ---: |", *points]
    else:
        lines.append("searched exactly: nothing to tune")
    if row.live_recall is not None:
        lines.append(f"live queries: {row.live_recall:.4f} of {row.live_recall_count}")
    return "\n".join(lines)


def _share(found: np.ndarray, right: np.ndarray) -> float:
    wanted = right[right >= 0]
    return float(np.isin(wanted, found).mean()) if len(wanted) else 1.0
