"""Log lines: their shape, what ties them together, and what never gets into them."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from config import logs
from config.services import LogSettings

log = logging.getLogger("test.logs")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """All logs of the process, as JSON; what was configured before is put back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    text = io.StringIO()
    logs.configure(LogSettings(), text)
    yield text
    root.handlers[:] = before
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    log.info("object stored", extra=logs.fields(size=12, facility="87001"))
    (entry,) = lines(stream)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "INFO",
        "logger": "test.logs",
        "message": "object stored",
        "size": 12,
        "facility": "87001",
    }


@pytest.mark.parametrize("name", sorted(logs.FORBIDDEN_FIELDS))
@pytest.mark.parametrize("format", ["json", "text"])
def test_what_could_name_a_patient_is_dropped(stream: io.StringIO, name: str, format: str) -> None:
    logs.configure(LogSettings(format=format), stream)
    log.warning("object refused", extra=logs.fields(**{name: "NGUYEN VAN AN", "reason": "truncated"}))
    assert "NGUYEN" not in stream.getvalue()
    assert "truncated" in stream.getvalue()


def test_the_element_keywords_that_identify_a_patient_are_forbidden_in_snake_case() -> None:
    assert {"patient_name", "patient_id", "patient_birth_date", "accession_number"} <= logs.FORBIDDEN_FIELDS


def test_lines_of_one_association_share_its_id(stream: io.StringIO) -> None:
    with logs.correlated() as outer:
        log.info("association accepted")
        with logs.correlated("0123456789abcdef") as inner:
            log.info("inner")
        log.info("association released")
    log.info("idle")
    ids = [entry.get("correlation") for entry in lines(stream)]
    assert ids == [outer, inner, outer, None]
    assert inner == "0123456789abcdef"
    assert len(outer) == 16


def test_each_thread_has_its_own_id(stream: io.StringIO) -> None:
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        with logs.correlated(name):
            barrier.wait(120)
            log.info(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(entry["correlation"] == entry["message"] for entry in lines(stream))


def test_new_ids_differ() -> None:
    assert len({logs.new_correlation_id() for _ in range(100)}) == 100


def test_an_exception_is_in_the_same_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("it failed")
    (entry,) = lines(stream)
    assert entry["exception"].endswith("ValueError: bad")


def test_vietnamese_is_written_as_it_is(stream: io.StringIO) -> None:
    log.info("started", extra=logs.fields(facility_name="Bệnh viện"))
    assert "Bệnh viện" in stream.getvalue()


def test_the_text_form_is_for_people(stream: io.StringIO) -> None:
    logs.configure(LogSettings(format="text"), stream)
    log.warning("disk is nearly full", extra=logs.fields(free="1 GiB"))
    assert stream.getvalue().rstrip().endswith("WARNING disk is nearly full free=1 GiB")


def test_levels_below_the_chosen_one_are_silent(stream: io.StringIO) -> None:
    logs.configure(LogSettings(level="ERROR"), stream)
    log.warning("unheard")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("library", ["pynetdicom", "pydicom", "urllib3", "minio", "uvicorn.access", "alembic"])
def test_libraries_that_log_datasets_or_requests_are_held_at_warning(stream: io.StringIO, library: str) -> None:
    logs.configure(LogSettings(level="DEBUG"), stream)
    logging.getLogger(library).info("PatientName NGUYEN VAN AN")
    assert stream.getvalue() == ""


def test_configuring_twice_does_not_write_lines_twice(stream: io.StringIO) -> None:
    logs.configure(LogSettings(), stream)
    log.info("once")
    assert len(lines(stream)) == 1
