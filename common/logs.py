"""Logging: structlog events with fields, as JSON lines, or pretty where a person watches a terminal."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str = "info", service: str | None = None) -> None:
    """Send all log events at or above `level` (one of LEVELS) to standard error, marked with the `service`.

    What libraries log through the standard library goes the same way, from warnings on.
    """
    pretty = sys.stderr.isatty()
    # plain traces: those of rich, if it is installed, show the values of all variables, tokens and all
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = console if pretty else structlog.processors.JSONRenderer(sort_keys=False)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        *([] if pretty else [structlog.processors.format_exc_info]),
        _naming(service),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # a line in one write: those of several processes do not run into each other
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _naming(service: str | None) -> structlog.typing.Processor:
    def name(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if service is not None:
            event["service"] = service
        return event

    return name
