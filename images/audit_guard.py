"""The database itself keeps the audit log append-only: triggers refuse what SQL might do to its rows.

One change is let through: the reference to a team or a person that was deleted becomes empty. The triggers are looked
after on every `migrate` and not by a migration, because SQLite drops them whenever it rebuilds the table.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_migrate

NAME = "audit_is_append_only"
COMPLAINT = "The audit log is append-only."
EMPTIED = ("team_id", "actor_id")


def connect(sender: Any) -> None:
    post_migrate.connect(_migrated, sender, dispatch_uid="images.audit_guard")


def disconnect(sender: Any) -> None:
    post_migrate.disconnect(_migrated, sender, dispatch_uid="images.audit_guard")


def install(connection: BaseDatabaseWrapper) -> None:
    """Make the triggers where they are missing. Raises nothing on databases other than Postgres and SQLite."""
    events = apps.get_model("images", "AuditEvent")._meta
    table, columns = events.db_table, [str(field.column) for field in events.concrete_fields]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for statement in _sqlite(table, columns):
                cursor.execute(statement)
        elif connection.vendor == "postgresql" and not _there(cursor, table):
            for statement in _postgres(table):
                cursor.execute(statement)


def _migrated(using: str, **kwargs: Any) -> None:
    connection = connections[using]
    if apps.get_model("images", "AuditEvent")._meta.db_table in connection.introspection.table_names():
        install(connection)


def _sqlite(table: str, columns: list[str]) -> list[str]:
    same = [f'NEW."{name}" IS OLD."{name}"' for name in columns if name not in EMPTIED]
    emptied = [f'(NEW."{name}" IS OLD."{name}" OR NEW."{name}" IS NULL)' for name in EMPTIED]
    refuse = f"BEGIN SELECT RAISE(ABORT, '{COMPLAINT}'); END"
    harmless = " AND ".join([*same, *emptied])
    return [
        f'CREATE TRIGGER IF NOT EXISTS {NAME}_update BEFORE UPDATE ON "{table}" WHEN NOT ({harmless}) {refuse}',
        f'CREATE TRIGGER IF NOT EXISTS {NAME}_delete BEFORE DELETE ON "{table}" {refuse}',
    ]


def _there(cursor: Any, table: str) -> bool:
    cursor.execute("SELECT 1 FROM pg_trigger WHERE tgname = %s AND tgrelid = %s::regclass", [NAME, table])
    return cursor.fetchone() is not None


def _postgres(table: str) -> list[str]:
    kept = " - ".join(["to_jsonb({row})", *(f"'{name}'" for name in EMPTIED)])
    same = f"{kept.format(row='NEW')} = {kept.format(row='OLD')}"
    emptied = [f"(NEW.{name} IS NULL OR NEW.{name} = OLD.{name})" for name in EMPTIED]
    body = f"""
        BEGIN
            IF TG_OP = 'UPDATE' AND {" AND ".join([same, *emptied])} THEN RETURN NEW; END IF;
            RAISE EXCEPTION '{COMPLAINT}';
        END"""
    return [
        f"CREATE OR REPLACE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
        f'CREATE TRIGGER {NAME} BEFORE UPDATE OR DELETE ON "{table}" FOR EACH ROW EXECUTE FUNCTION {NAME}()',
    ]
