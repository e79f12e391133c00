"""Structured logs: one event a line, with the request's id; readable in development, JSON in production."""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LONGEST_TEXT = 2000
SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def one_line(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Whatever people sent (names, paths, titles) stays inside its line: characters that print nothing, break lines or
    steer a terminal are escaped, long texts cut. Tracebacks keep their lines."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _shown(value, "\n") if key == "exception" else _shown(value[:LONGEST_TEXT])
    return event


def _shown(text: str, kept: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode("ascii") for c in text
    )


def configure(level: str, as_json: bool) -> None:
    """Send every logger, structlog's and the standard library's, through one formatter to stderr."""
    renderer: Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                one_line,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("botocore", "boto3", "s3transfer", "urllib3", "PIL", "filelock", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
