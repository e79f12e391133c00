"""Trains the bundled model from nothing: `python -m search.demo.training`, or `manage.py train_demo_model`."""

import argparse
import logging
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

MODEL = Path(__file__).with_name("model")
IMAGE_STEPS = 2800
TEXT_STEPS = 2200
EVALUATION_TITLE = "# Evaluation on new drawings (seeds and phrasings that training never saw)"
log = logging.getLogger(__name__)
Stage = Callable[[int, int, int, int, Path], None]


class TrainingFailed(RuntimeError):
    """A training process ended early; its message stands above."""


def _process(stage: Stage, rank: int, processes: int, steps: int, seed: int, work: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    stage(rank, processes, steps, seed, work)


def run(stage: Stage, processes: int, steps: int, seed: int, work: Path) -> None:
    """Runs one stage in `processes` processes of one thread each, and waits for them."""
    for left_over in work.glob("meeting-*"):
        left_over.unlink()
    context = multiprocessing.get_context("spawn")
    team = [
        context.Process(target=_process, args=(stage, n, processes, steps, seed, work))
        for n in range(processes)
    ]
    for member in team:
        member.start()
    for member in team:
        member.join()
    if any(member.exitcode for member in team):
        raise TrainingFailed(TrainingFailed.__doc__)


def train(
    out: Path = MODEL,
    *,
    work: Path,
    seed: int = 1,
    image_steps: int = IMAGE_STEPS,
    text_steps: int = TEXT_STEPS,
    processes: int = 2,
    stages: str = "both",
) -> None:
    """Trains both towers and writes the model in the format of transformers to `out`.

    `work` keeps the finished stage 1 (image.pt), so that `stages="text"` can repeat stage 2 alone.
    """
    from search.demo import evaluation, image_training, text_training

    work.mkdir(parents=True, exist_ok=True)
    if stages in ("both", "image"):
        run(image_training.train, processes, image_steps, seed, work)
    if stages in ("both", "text"):
        run(text_training.prepare, processes, 0, seed, work)
        run(text_training.train, processes, text_steps, seed, work)
    if stages == "refine":
        run(text_training.refine, processes, text_steps, seed, work)
    if stages != "image":
        text_training.package(work, out)
        table = evaluation.formatted(evaluation.evaluate(out))
        (out / "EVALUATION.md").write_text(f"{EVALUATION_TITLE}\n\n{table}\n", encoding="utf-8")
        log.info("evaluation on new drawings:\n%s", table)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options that the management command and the module share."""
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--image-steps", type=int, default=IMAGE_STEPS, help="steps of stage 1, 256 pictures each"
    )
    parser.add_argument(
        "--text-steps", type=int, default=TEXT_STEPS, help="steps of stage 2, 512 captions each"
    )
    parser.add_argument("--processes", type=int, default=2, help="training processes, one thread each")
    parser.add_argument("--stages", choices=("both", "image", "text", "refine"), default="both")
    parser.add_argument("--work", type=Path, default=Path("var/demo-training"), help="checkpoints and caches")
    parser.add_argument("--out", type=Path, default=MODEL, help="where the finished model goes")


def main() -> None:
    """Entry point of `python -m search.demo.training`."""
    parser = argparse.ArgumentParser(description=__doc__)
    arguments(parser)
    options = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    train(options.pop("out"), **options)


if __name__ == "__main__":
    main()
