"""Logging: structlog events with fields, as JSON lines, or pretty where a person watches a terminal.

What a level means: docs/operating.md. Whatever is bound in structlog's contextvars is in each line: the identifier of a
request (`request_id`), that of an event and its attempt. Threads and tasks that are started have it too.
"""

import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from common import metrics
from common.redaction import hide

LEVELS = ("debug", "info", "warning", "error")

log = structlog.get_logger()

_LINES = metrics.counter("log_lines", "Lines logged.", "level")
_BY_LEVEL = {level: _LINES.labels(level) for level in (*LEVELS, "critical")}

Event = MutableMapping[str, Any]

# What a reader of the lines looks for first.
_FIRST = ("timestamp", "level", "service", "event")


def configure(level: str = "info", service: str | None = None) -> None:
    """Send all log events at or above `level` (one of LEVELS) to standard error, marked with the `service`.

    What libraries log through the standard library goes the same way, from warnings on, and so do Python's warnings.
    Secrets are hidden (`common.redaction`), whoever logs them.
    """
    pretty = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        # plain traces: others show the values of all variables, tokens and all
        structlog.processors.format_exc_info,
        _hide_secrets,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _naming(service),
        _count,
        _escape if pretty else _in_order,
    ]
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # a line in one write: those of several processes do not run into each other
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    foreign = [structlog.stdlib.add_logger_name, *shared]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processor=renderer))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def catch_the_rest() -> None:
    """Log what ends a thread, and errors that nobody can be told (in a destructor, say), in place of bare traces."""
    threading.excepthook = _thread_died
    sys.unraisablehook = _not_raised


def _thread_died(died: threading.ExceptHookArgs) -> None:
    if died.exc_value is not None and not isinstance(died.exc_value, SystemExit):
        name = died.thread.name if died.thread is not None else "unknown"
        log.error("thread_died", thread=name, exc_info=_told(died.exc_value, died.exc_traceback))


def _not_raised(failed: "sys.UnraisableHookArgs") -> None:
    if failed.exc_value is not None:
        told = _told(failed.exc_value, failed.exc_traceback)
        log.error("error_not_raised", reason=failed.err_msg or "Exception ignored", exc_info=told)


def _told(
    error: BaseException, trace: TracebackType | None
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    return type(error), error, trace


def _naming(service: str | None) -> structlog.typing.Processor:
    def name(_: object, __: str, event: Event) -> Event:
        if service is not None:
            event["service"] = service
        return event

    return name


def _count(_: object, __: str, event: Event) -> Event:
    _BY_LEVEL.get(event["level"], _BY_LEVEL["error"]).inc()
    return event


def _hide_secrets(_: object, __: str, event: Event) -> Event:
    # the standard library's record travels along, and is not shown
    passing = {name: event.pop(name) for name in ("_record", "_from_structlog") if name in event}
    hide(event)
    event.update(passing)
    return event


def _in_order(_: object, __: str, event: Event) -> Event:
    return {**{name: event[name] for name in _FIRST if name in event}, **event}


def _escape(_: object, __: str, event: Event) -> Event:
    """Show control characters in what others have sent as what they are: a terminal would obey them."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in value)
    return event
