"""Which client proves what about which service: the marks of the cases, and the table that their results make."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

import tests.interop

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "build" / "interop"
"""A file for each case, with the result of its last run."""

DCMTK, PYNETDICOM, PYNETDICOM_API, ORTHANC, GDCM = (
    "DCMTK",
    "pynetdicom apps",
    "pynetdicom API",
    "Orthanc",
    "GDCM gdcmscu",
)
CLIENTS: Final = (DCMTK, PYNETDICOM, PYNETDICOM_API, ORTHANC, GDCM)

DICOMWEB_CLIENT, NPM, ORTHANC_WEB, OHIF, CURL = (
    "dicomweb-client (Python)",
    "dicomweb-client + dcmjs (npm)",
    "Orthanc DICOMweb plug-in",
    "OHIF",
    "curl",
)
WEB_CLIENTS: Final = (DICOMWEB_CLIENT, NPM, ORTHANC_WEB, OHIF, CURL)

VERIFICATION = "C-ECHO"
STORE = "C-STORE"
FIND = "C-FIND"
MOVE = "C-MOVE"
GET = "C-GET"
DESTINATION = "destination of C-MOVE"
NEGOTIATION = "negotiation"
FORWARDING = "forwarding to it"
COMMITMENT = "storage commitment"
WORKLIST = "modality worklist"
STEPS = "performed procedure step"
TLS = "TLS"
IDENTITY = "user identity"
SERVICES: Final = (
    NEGOTIATION,
    VERIFICATION,
    STORE,
    FIND,
    MOVE,
    DESTINATION,
    GET,
    FORWARDING,
    COMMITMENT,
    WORKLIST,
    STEPS,
    TLS,
    IDENTITY,
)

SEARCH = "search at all levels"
FUZZY = "search: fuzzymatching"
FIELDS = "search: includefield"
PAGING = "search: limit and offset"
XML = "search: XML"
STUDY = "retrieve study"
SERIES = "retrieve series"
INSTANCE = "retrieve instance"
FRAMES = "retrieve frames"
METADATA = "metadata"
BULK_DATA = "bulk data"
RENDERED = "rendered"
THUMBNAIL = "thumbnail"
ZIP = "zip"
STOW = "store Part 10"
STOW_METADATA = "store metadata and bulk data"
WADO_URI = "WADO-URI"
TRANSACTIONS: Final = (
    SEARCH,
    FUZZY,
    FIELDS,
    PAGING,
    XML,
    STUDY,
    SERIES,
    INSTANCE,
    FRAMES,
    METADATA,
    BULK_DATA,
    RENDERED,
    THUMBNAIL,
    ZIP,
    STOW,
    STOW_METADATA,
    WADO_URI,
)
MATRICES: Final = {"matrix": (CLIENTS, SERVICES), "web-matrix": (WEB_CLIENTS, TRANSACTIONS)}
"""Clients and what they do, by the table that has them as columns and rows."""

NOT_OFFERED: Final[Mapping[tuple[str, str], str]] = {
    (ORTHANC, GET): "Orthanc 1.10 is neither SCU nor SCP of C-GET",
    (ORTHANC, STEPS): "Orthanc has no such service",
    (ORTHANC, IDENTITY): "Orthanc names no user",
    (ORTHANC, NEGOTIATION): "nothing can be chosen",
    (DCMTK, COMMITMENT): "DCMTK has no program for it",
    (DCMTK, STEPS): "DCMTK has no program for it",
    (PYNETDICOM, COMMITMENT): "there is no app for it",
    (PYNETDICOM, STEPS): "there is no app for it",
    (PYNETDICOM, TLS): "the apps have no option for it",
    (PYNETDICOM, IDENTITY): "the apps have no option for it",
    (GDCM, GET): "`gdcmscu --get` is not implemented",
    (GDCM, DESTINATION): "no program of GDCM waits for associations but `gdcmscu --move` itself",
    (GDCM, FORWARDING): "no program of GDCM waits for associations but `gdcmscu --move` itself",
    (GDCM, NEGOTIATION): "nothing can be chosen",
    (GDCM, COMMITMENT): "GDCM has no such service",
    (GDCM, WORKLIST): "`gdcmscu --find --worklist` sends a query of Study Root all the same",
    (GDCM, STEPS): "GDCM has no such service",
    (GDCM, TLS): "GDCM has no TLS",
    (GDCM, IDENTITY): "GDCM names no user",
    (DICOMWEB_CLIENT, XML): "it asks for JSON alone",
    (DICOMWEB_CLIENT, THUMBNAIL): "it has no function for it",
    (DICOMWEB_CLIENT, ZIP): "it has no function for it",
    (DICOMWEB_CLIENT, STOW_METADATA): "it stores Part 10 alone",
    (DICOMWEB_CLIENT, WADO_URI): "it speaks WADO-RS alone",
    (NPM, XML): "it asks for JSON alone",
    (NPM, ZIP): "it has no function for it",
    (NPM, STOW_METADATA): "it stores Part 10 alone",
    (ORTHANC_WEB, STOW_METADATA): "it stores Part 10 alone",
    (OHIF, PAGING): "its list asks for the first 101 studies, and never for more",
    (OHIF, XML): "it asks for JSON alone",
    (OHIF, STUDY): "it retrieves single instances and frames",
    (OHIF, SERIES): "it retrieves single instances and frames",
    (OHIF, ZIP): "it has no function for it",
    (OHIF, STOW_METADATA): "it stores Part 10 alone",
    (OHIF, WADO_URI): "as it is configured here, it speaks WADO-RS alone",
}
"""What a client does not have, and why there is no case for it."""


@dataclass(frozen=True, slots=True)
class Case:
    """What one test proves."""

    client: str
    program: str
    service: str
    proves: str
    test: str
    """Path and name of the test function."""


Test = TypeVar("Test", bound=Callable[..., None])


def case(client: str, program: str, service: str, proves: str) -> Callable[[Test], Test]:
    """Mark a test as a case of the table."""
    assert any(client in clients and service in rows for clients, rows in MATRICES.values()), (client, service)
    mark: Callable[[Test], Test] = pytest.mark.interop(client=client, program=program, service=service, proves=proves)
    return mark


def marked(function: Any) -> dict[str, str] | None:
    """What `case` said about a test function."""
    return next((mark.kwargs for mark in getattr(function, "pytestmark", []) if mark.name == "interop"), None)


def cases() -> Iterator[Case]:
    """All cases, in order of their modules."""
    for module in sorted(each.name for each in pkgutil.iter_modules(tests.interop.__path__)):
        if module.startswith("test_"):
            found = importlib.import_module(f"tests.interop.{module}")
            for name, function in vars(found).items():
                about = marked(function) if function.__class__.__name__ == "function" else None
                if about is not None and function.__module__ == found.__name__:
                    yield Case(**about, test=f"tests/interop/{module}.py::{name}")


@dataclass(frozen=True, slots=True)
class Result:
    """How often a case passed and failed in its last run: more than once where it is parametrized."""

    test: str
    passed: int
    failed: int
    when: str
    """Date of the run."""

    @property
    def text(self) -> str:
        return f"**fail** ({self.failed} of {self.passed + self.failed})" if self.failed else "pass"


def keep(result: Result) -> None:
    """Write a result where `results` finds it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = result.test.removeprefix("tests/interop/").replace("/", ".").replace("::", ".")
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(result), ensure_ascii=False), encoding="utf-8")


def results() -> dict[str, Result]:
    """The last result of each test."""
    found = (Result(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json")))
    return {result.test: result for result in found}


def cell(client: str, service: str, every: Iterable[Case], ran: Mapping[str, Result]) -> str:
    """A cell of the table: never blank. Raises `KeyError` for a pair without cases that `NOT_OFFERED` does not know."""
    mine = [each for each in every if (each.client, each.service) == (client, service)]
    if not mine:
        return "not offered" if NOT_OFFERED[client, service] else ""
    missing = [each for each in mine if each.test not in ran]
    failed = [each for each in mine if each.test in ran and ran[each.test].failed]
    if missing:
        return f"**not run** ({len(missing)} of {len(mine)})"
    return f"**fail** ({len(failed)} of {len(mine)})" if failed else f"pass ({len(mine)})"
