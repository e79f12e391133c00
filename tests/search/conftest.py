"""Pictures whose place in the search is known."""

from __future__ import annotations

from typing import Any

import pytest

from search.models import CollectionIndex, Embedding, Space
from tests.search.axes import DIMENSION, NAME, SHA256, vector
from tests.search.rows import finish


@pytest.fixture
def add(make_image: Any) -> Any:
    """`add("dog")`: a picture of it, embedded and searchable at once; further arguments as for `make_image`."""

    def make(*words: str, embedded: bool = True, **fields: Any) -> Any:
        space, _made = Space.objects.get_or_create(
            sha256=SHA256, defaults={"name": NAME, "dimension": DIMENSION, "languages": ["en"]}
        )
        image = make_image(**fields)
        CollectionIndex.objects.get_or_create(collection=image.collection, defaults={"space": space})
        Embedding.objects.filter(image=image).delete()
        if embedded:
            finish(image.collection, [image], [vector(*words, noise=0.2, seed=image.pk)], space)
        return image

    return make
