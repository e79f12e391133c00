"""The words on pictures, for full text search on Postgres; search.keywords asks for the same expression."""

from typing import Any

from django.db import migrations

TEXT = "title || ' ' || caption || ' ' || alt_text || ' ' || translate(file_name, '._-/', '    ')"
CONFIGURATIONS = ("english", "spanish", "french", "german", "simple")
DOCUMENT = " || ".join(f"to_tsvector('{name}', {TEXT})" for name in CONFIGURATIONS)


def add(apps: Any, schema_editor: Any) -> None:
    """Built beside the work that goes on; a build that was cut short leaves a dead index, so that goes first."""
    if schema_editor.connection.vendor == "postgresql":
        remove(apps, schema_editor)
        schema_editor.execute(
            f"CREATE INDEX CONCURRENTLY image_words ON images_image USING gin (({DOCUMENT}))"
        )


def remove(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX CONCURRENTLY IF EXISTS image_words")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("images", "0001_initial"),
        ("search", "0004_saved_search"),
    ]

    operations = [migrations.RunPython(add, remove, atomic=False)]
