"""`manage.py train_demo_model`: trains the bundled model from nothing and measures it."""

import logging
from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from search.demo import training
from search.demo.cldr import MissingNames
from search.demo.painting import MissingFont


class Command(BaseCommand):
    """Trains both towers, writes the model in the format of transformers, and measures it."""

    help = (
        "Train the bundled model (needs fonts-noto-color-emoji and unicode-cldr-core; an hour on two cores)"
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        training.arguments(parser)

    def handle(
        self,
        *args: object,
        out: Path,
        work: Path,
        seed: int,
        image_steps: int,
        text_steps: int,
        processes: int,
        stages: str,
        **options: object,
    ) -> None:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        try:
            training.train(
                out,
                work=work,
                seed=seed,
                image_steps=image_steps,
                text_steps=text_steps,
                processes=processes,
                stages=stages,
            )
        except (MissingFont, MissingNames, training.TrainingFailed) as error:
            raise CommandError(str(error)) from error
