"""What the search app does when a picture becomes ready or moves: inside the same transaction, so never apart."""

from typing import Any

from images.models import Image
from images.signals import image_moved, image_ready
from search import embedding


def connect() -> None:
    image_ready.connect(_ready, dispatch_uid="search.image_ready")
    image_moved.connect(_moved, dispatch_uid="search.image_moved")


def _ready(sender: object, image: Image, **kwargs: Any) -> None:
    embedding.enlist(image)


def _moved(sender: object, image: Image, **kwargs: Any) -> None:
    embedding.moved(image)
