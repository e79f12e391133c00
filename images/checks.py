"""System checks that say what to do before a server goes public."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register


@register(Tags.security)
def default_secret_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or settings.SECRET_KEY != settings.DEFAULT_SECRET_KEY:
        return []
    return [
        Error(
            "DEBUG is off and SECRET_KEY is the default that everyone knows.",
            hint="Set SECRET_KEY to a long random value: python3 -c 'import secrets; print(secrets.token_urlsafe(50))'",
            id="loupe.E001",
        )
    ]


@register(Tags.database)
def sqlite_in_production(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or not settings.SQLITE:
        return []
    return [
        Warning(
            "DEBUG is off and the database is SQLite: fine for one machine and a small team, not for more.",
            hint="Set DATABASE_URL to a Postgres database: postgres://user:password@host/name",
            id="loupe.W001",
        )
    ]


@register(Tags.caches)
def no_redis_in_production(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or settings.REDIS_URL:
        return []
    return [
        Warning(
            "DEBUG is off and there is no Redis: caches are not shared, so run a single web process.",
            hint="Set REDIS_URL, for example redis://127.0.0.1:6379/0",
            id="loupe.W002",
        )
    ]


@register(Tags.security, deploy=True)
def bundled_model(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.LOUPE_MODEL:
        return []
    return [
        Warning(
            "The bundled demo model serves: it knows drawn scenes and pictograms, not photographs.",
            hint="Set LOUPE_MODEL, for example openai/clip-vit-base-patch32, and run manage.py fetch_model once.",
            id="loupe.W003",
        )
    ]


@register(Tags.files)
def half_configured_storage(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if bool(settings.S3_BUCKET) == bool(settings.S3_ENDPOINT_URL or settings.S3_ACCESS_KEY):
        return []
    return [
        Error(
            "S3 storage is half configured: S3_BUCKET and S3_ENDPOINT_URL (or S3_ACCESS_KEY) belong together.",
            hint="Set both, or neither to keep files in the data folder.",
            id="loupe.E002",
        )
    ]
