"""System checks that stop or warn an operator, and say what to do."""

from typing import Any

import pytest

from images import checks


def ids(*found: Any) -> list[str]:
    return [message.id for messages in found for message in messages]


def test_a_default_secret_is_refused_when_debug_is_off(settings: Any) -> None:
    settings.DEBUG, settings.SECRET_KEY = False, settings.DEFAULT_SECRET_KEY
    [error] = checks.default_secret_key(None)
    assert error.id == "loupe.E001" and error.is_serious() and "SECRET_KEY" in error.hint


def test_a_secret_of_ones_own_is_fine(settings: Any) -> None:
    settings.DEBUG, settings.SECRET_KEY = False, "a" * 50
    assert checks.default_secret_key(None) == []


@pytest.mark.parametrize(("debug", "expected"), [(True, []), (False, ["loupe.W001", "loupe.W002"])])
def test_the_embedded_parts_are_named_when_debug_is_off(
    debug: bool, expected: list[str], settings: Any
) -> None:
    settings.DEBUG, settings.SQLITE, settings.REDIS_URL = debug, True, ""
    assert ids(checks.sqlite_in_production(None), checks.no_redis_in_production(None)) == expected


def test_half_configured_storage_is_refused(settings: Any) -> None:
    settings.S3_BUCKET, settings.S3_ENDPOINT_URL = "pictures", ""
    settings.S3_ACCESS_KEY = ""
    assert ids(checks.half_configured_storage(None)) == ["loupe.E002"]


def test_the_bundled_model_says_what_it_does_not_know(settings: Any) -> None:
    settings.LOUPE_MODEL = ""
    assert ids(checks.bundled_model(None)) == ["loupe.W003"]
