"""Fixtures of the interoperability tests, and the record of their results."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.conftest import fresh_database
from tests.interop.matrix import Result, keep, marked
from tests.interop.site import Site, opened
from tests.interop.web import Web, web_of

_counts: dict[str, Counter[bool]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the result of a case, also of one whose fixtures failed."""
    report = yield
    function: Any = getattr(item, "function", None)
    if marked(function) is not None and (report.when == "call" or report.failed):
        test = item.nodeid.split("[")[0]
        counts = _counts.setdefault(test, Counter())
        counts[report.passed] += 1
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        keep(Result(test, counts[True], counts[False], today))
    return report


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node as a process of its own, with peers of all kinds on the list, and studies to find and give.

    It is shared by the tests of a module; they must not rely on its being untouched.
    """
    with fresh_database(postgres) as url, opened(url, tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture(scope="module")
def web(site: Site) -> Iterator[Web]:
    """The same by DICOMweb, with an object of several frames and one that says much of itself."""
    with web_of(site) as found:
        yield found
