"""The world that the matrices are played on."""

from __future__ import annotations

from typing import Any

import pytest

from search import encoders, index, retrieval
from tests.search.axes import NAME, AxesEncoder
from tests.security.world import furnish, people


@pytest.fixture
def world(
    team: Any,
    member: Any,
    outsider: Any,
    make_collection: Any,
    make_image: Any,
    make_user: Any,
    picture: Any,
    monkeypatch: Any,
    settings: Any,
) -> dict[str, Any]:
    settings.WEBHOOK_ALLOW_PRIVATE = True  # a documentation address: nothing is sent there
    monkeypatch.setitem(encoders.REGISTRY, NAME, encoders.replace(encoders.DEMO, name=NAME))
    monkeypatch.setitem(encoders._encoders, NAME, AxesEncoder())
    retrieval.forget()
    index.reset()
    users = people(member, outsider)
    return {
        **furnish(team, users, make_collection, make_image, make_user),
        "users": users,
        "bytes": picture(),
    }
