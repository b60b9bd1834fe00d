"""Every error of the archive has one row in the table of HTTP statuses, and leaks nothing on its way out."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Query

from archive import errors
from tests.web_server import fresh_archive, serving
from viewer_api.app import create_app
from viewer_api.problems import PROBLEMS, problem_of

# The table of the house style; PS3.18 I.2.2 and PS3.4 Table B.2-1.
EXPECTED = {
    "CannotParse": (400, 0xC000),
    "InvalidUID": (400, 0xC000),
    "SOPClassMismatch": (409, 0xA900),
    "UnsupportedSOPClass": (409, 0x0122),
    "UnsupportedTransferSyntax": (409, 0xC122),
    "ObjectTooLarge": (413, 0xC000),
    "ConflictingDuplicate": (409, 0x0111),
    "InvalidQuery": (400, 0x0110),
    "TooManyMatches": (413, 0x0110),
    "NotFound": (404, 0x0110),
    "Forgotten": (410, 0x0110),
    "NotAcceptable": (406, 0x0110),
    "NotPermitted": (403, 0x0124),
    "Withdrawn": (408, 0x0110),
    "InvalidItem": (422, 0x0110),
    "Conflict": (409, 0x0110),
    "Outdated": (412, 0x0110),
    "IndexUnavailable": (503, 0xA700),
    "StoreUnavailable": (503, 0xA700),
}


def _tree(cls: type[errors.ArchiveError]) -> Iterator[type[errors.ArchiveError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


ALL = sorted(
    (cls for cls in set(_tree(errors.ArchiveError)) if cls.__module__ == errors.__name__), key=lambda cls: cls.__name__
)


def test_every_domain_error_is_in_the_table() -> None:
    assert set(ALL) == set(PROBLEMS)


def test_errors_for_use_inside_one_module_have_the_row_of_a_public_one() -> None:
    for module in pkgutil.walk_packages([str(Path(errors.__file__).parent)], "archive."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for cls in set(_tree(errors.ArchiveError)) - set(ALL):
        assert problem_of(cls) != PROBLEMS[errors.ArchiveError]


def test_the_table_is_the_one_of_the_house() -> None:
    table = {cls.__name__: (int(problem.status), problem.failure_reason) for cls, problem in PROBLEMS.items()}
    assert {name: table[name] for name in EXPECTED} == EXPECTED
    assert table.keys() - EXPECTED.keys() == {"ArchiveError", "BadObject", "Unavailable"}


def test_an_error_of_a_later_release_has_the_row_of_its_parent() -> None:
    later = type("Later", (errors.IndexUnavailable,), {})
    try:
        assert problem_of(later) == PROBLEMS[errors.IndexUnavailable]
    finally:
        del later


@pytest.fixture(scope="module")
def failing(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An application with routes that fail in every way."""
    with fresh_archive(postgres, tmp_path_factory.mktemp("failing")) as archive:
        app = create_app(archive)
        _add_failing_routes(app)
        with serving(app) as url, httpx.Client(base_url=url) as client:
            yield client


def _add_failing_routes(app: FastAPI) -> None:
    by_name = {cls.__name__: cls for cls in ALL}

    @app.get("/fail/{name}")
    def fail(name: str) -> None:
        if name == "unforeseen":
            raise RuntimeError("password and patient name")
        raise by_name[name](f"the message of {name}")

    @app.get("/number")
    def number(value: int = Query()) -> int:
        return value


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_errors_are_answered_as_problem_details(failing: httpx.Client, cls: type[errors.ArchiveError]) -> None:
    """RFC 9457 3."""
    response = failing.get(f"/fail/{cls.__name__}")
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == problem["status"] == int(PROBLEMS[cls].status)
    assert problem["title"] == PROBLEMS[cls].title
    assert problem["type"].startswith("urn:pacs:problem:")
    assert problem["correlation"] == response.headers["x-request-id"]
    assert (problem["detail"] == f"the message of {cls.__name__}") == (response.status_code != 500)
    assert ("retry-after" in response.headers) == (response.status_code == 503)


def test_problem_types_are_readable(failing: httpx.Client) -> None:
    assert failing.get("/fail/CannotParse").json()["type"] == "urn:pacs:problem:cannot-parse"
    assert failing.get("/fail/InvalidUID").json()["type"] == "urn:pacs:problem:invalid-uid"


def test_what_nobody_foresaw_is_500_and_tells_nothing(failing: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    response = failing.get("/fail/unforeseen")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["correlation"] == response.headers["x-request-id"]
    assert "password" not in response.text + str(response.headers)
    logged = [record for record in caplog.records if record.getMessage() == "request failed"]
    assert len(logged) == 1
    assert logged[0].__dict__["pacs_fields"]["error"] == "RuntimeError"
    assert "password" not in str([record.__dict__ for record in caplog.records])


def test_errors_of_the_framework_are_problem_details_too(failing: httpx.Client) -> None:
    for response, status in (
        (failing.get("/no/such/page"), 404),
        (failing.delete("/health/live"), 405),
        (failing.get("/number"), 400),
        (failing.get("/number", params={"value": "NGUYEN"}), 400),
    ):
        assert response.status_code == response.json()["status"] == status
        assert response.headers["content-type"] == "application/problem+json"
        assert "NGUYEN" not in response.text
