"""Who x what x how they stand to it: every cell of the rule table, the allowed ones and the refused ones.

What is expected is worked out from `RIGHTS` and from what this file says of each route and way of sharing, never from
the code that decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from starlette.requests import HTTPConnection

from archive.core import Archive
from archive.people.caller import ANYBODY, NOBODY, Caller, Kind, Membership, rights_of
from archive.people.roles import RIGHTS, Right, Role
from archive.records import Level, Query
from archive.reports.records import Author, Written
from config.peers import Peer
from dicom_node.operation import Caller as Association
from tests.integration.access.relations import (
    COPIED,
    HOME,
    OWNER,
    SEEN,
    Kept,
    Reach,
    Relation,
    copied_by,
    keep,
    seen_by,
)
from tests.integration.access.told import assert_told
from tests.integration.archive.support import sql, url_of
from tests.web_server import fresh_archive
from tests.worklist import put
from viewer_api.app import create_app
from viewer_api.views import FACILITY_HEADER

_PACE: Final = 24
"""Requests at a time."""


class Switch:
    """Says that whoever the request names is calling."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = callers

    async def caller(self, connection: HTTPConnection) -> Caller:
        return self._callers[connection.headers["x-caller"]]


class Site(NamedTuple):
    archive: Archive
    app: FastAPI
    callers: dict[str, Caller]
    studies: dict[Relation, Kept]


@dataclass(frozen=True)
class Action:
    """One way to ask for a study."""

    name: str
    path: Callable[[Kept], str]
    rights: frozenset[Right]
    """Any of these lets through."""
    copies: bool = False
    search: bool = False
    """Answers with what is found, which may be nothing."""
    accept: str = "*/*"


_VIEW: Final = frozenset((Right.VIEW,))
_EITHER: Final = frozenset((Right.VIEW, Right.COPY))
_ORDERS: Final = frozenset((Right.VIEW, Right.ORDERS))
_ROOT: Final = "/dicom-web"


def _study(kept: Kept) -> str:
    return f"{_ROOT}/studies/{kept.study}"


def _series(kept: Kept) -> str:
    return f"{_study(kept)}/series/{kept.image[0]}"


def _image(kept: Kept) -> str:
    return f"{_series(kept)}/instances/{kept.image[1]}"


def _report(kept: Kept) -> str:
    return f"{_study(kept)}/series/{kept.report[0]}/instances/{kept.report[1]}"


def _uri(kept: Kept) -> str:
    return (
        f"{_ROOT}/wado?requestType=WADO&studyUID={kept.study}&seriesUID={kept.image[0]}&objectUID={kept.image[1]}"
        "&contentType="
    )


_SAMPLE: Final = Kept("1", ("1", "1"), ("1", "1"), "1")
ACTIONS: Final = (
    *(
        Action(f"QIDO {name}", path, _VIEW, search=True)
        for name, path in {
            "study by UID": lambda kept: f"{_ROOT}/studies?StudyInstanceUID={kept.study}",
            "study by PatientID": lambda kept: f"{_ROOT}/studies?PatientID={kept.patient}",
            "study by wildcard": lambda kept: f"{_ROOT}/studies?PatientID={kept.patient[:-1]}*&PatientName=*nguy*",
            "study by accession": lambda kept: f"{_ROOT}/studies?AccessionNumber={kept.patient[3:][:16]}",
            "series of the study": lambda kept: f"{_study(kept)}/series",
            "instances of the study": lambda kept: f"{_study(kept)}/instances",
            "instances of the series": lambda kept: f"{_series(kept)}/instances",
            "series anywhere": lambda kept: f"{_ROOT}/series?SeriesInstanceUID={kept.image[0]}",
            "instances anywhere": lambda kept: f"{_ROOT}/instances?SOPInstanceUID={kept.image[1]}&includefield=all",
        }.items()
    ),
    *(
        Action(f"WADO {name}", path, _VIEW, accept=accept)
        for name, (path, accept) in {
            "study metadata": (lambda kept: f"{_study(kept)}/metadata", "application/dicom+json"),
            "series metadata": (lambda kept: f"{_series(kept)}/metadata", "application/dicom+json"),
            "instance metadata": (lambda kept: f"{_image(kept)}/metadata", "application/dicom+json"),
            "frame": (lambda kept: f"{_image(kept)}/frames/1", 'multipart/related; type="application/octet-stream"'),
            "rendered instance": (lambda kept: f"{_image(kept)}/rendered", "image/jpeg"),
            "rendered frame": (lambda kept: f"{_image(kept)}/frames/1/rendered", "image/png"),
            "thumbnail": (lambda kept: f"{_series(kept)}/thumbnail", "image/jpeg"),
            "bulk data": (lambda kept: f"{_image(kept)}/bulkdata/7FE00010", "*/*"),
            "URI as picture": (lambda kept: f"{_uri(kept)}image/jpeg", "*/*"),
        }.items()
    ),
    Action("WADO report whole", _report, _EITHER, accept='multipart/related; type="application/dicom"'),
    *(
        Action(f"WADO {name}", path, _EITHER, copies=True, accept=accept)
        for name, (path, accept) in {
            "study whole": (_study, 'multipart/related; type="application/dicom"'),
            "series whole": (_series, 'multipart/related; type="application/dicom"'),
            "image whole": (_image, "application/dicom"),
            "study as ZIP": (_study, "application/zip"),
        }.items()
    ),
    *(
        Action(f"FHIR {name}", path, _ORDERS if "order" in name else _VIEW, search="?" in path(_SAMPLE))
        for name, path in {
            "study": lambda kept: f"/fhir/ImagingStudy/{kept.study}",
            "study by patient": lambda kept: f"/fhir/ImagingStudy?patient.identifier={kept.patient}&_include=*",
            "patient by identifier": lambda kept: f"/fhir/Patient?identifier={kept.patient}&name=nguy",
            "report of the study": lambda kept: f"/fhir/DiagnosticReport?study={kept.study}&_include=*",
            "order for the study": lambda kept: f"/fhir/ServiceRequest?identifier={kept.study}",
        }.items()
    ),
    Action("WADO URI as DICOM", lambda kept: f"{_uri(kept)}application/dicom", _VIEW, copies=True),
)


ELSEWHERE: Final = "86003"
MIXED: Final[dict[str, tuple[tuple[Role, str | None], ...]]] = {
    "clinician, technician elsewhere": ((Role.CLINICIAN, HOME), (Role.TECHNICIAN, ELSEWHERE)),
    "technician, clinician elsewhere": ((Role.TECHNICIAN, HOME), (Role.CLINICIAN, ELSEWHERE)),
    "radiologist here and elsewhere": ((Role.RADIOLOGIST, HOME), (Role.RADIOLOGIST, ELSEWHERE)),
    "administrator, radiologist elsewhere": ((Role.FACILITY_ADMIN, HOME), (Role.RADIOLOGIST, ELSEWHERE)),
    "clinician and administrator": ((Role.CLINICIAN, HOME), (Role.FACILITY_ADMIN, HOME)),
    "administrator of the province, clinician": ((Role.PROVINCE_ADMIN, None), (Role.CLINICIAN, HOME)),
    "analyst of the province, technician": ((Role.ANALYST, None), (Role.TECHNICIAN, HOME)),
}
"""People with two roles."""
SPLIT: Final = {"looks here, copies elsewhere": (HOME, ELSEWHERE), "looks elsewhere, copies here": (ELSEWHERE, HOME)}
"""Where somebody has the right to look, and where that to copy."""


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    facilities = [{"code": code, "name": code} for code in ("86001", "86002", "86003")]
    with fresh_archive(postgres, folder, facilities=facilities, figures={"public": True}) as archive:
        account = sql(archive, "INSERT INTO account (name) VALUES ('binh') RETURNING id")[0]
        link = _link(archive)
        callers = dict(_callers(account, link))
        app = create_app(archive)
        app.state.sign_in = Switch(callers)
        studies = {each: keep(archive, each, account, link) for each in Relation}
        for relation, kept in studies.items():
            _report_and_order(archive, relation, kept)
        yield Site(archive, app, callers, studies)


def _report_and_order(archive: Archive, relation: Relation, kept: Kept) -> None:
    """What FHIR shows of a study beside it."""
    if relation is Relation.UNKNOWN:
        return
    writer = Caller(Kind.SERVICE, "writer", dict.fromkeys(Right))
    said = Written(conclusion=f"Về {kept.patient}")
    report = archive.reports.create(writer, kept.study, said, author=Author("BS. An"))
    archive.reports.sign(writer, report.number, report.revision, author=Author("BS. An", "1/CCHN"))
    number = {"AccessionNumber": relation.name[:16], "PatientID": kept.patient, "StudyInstanceUID": kept.study}
    put(archive, Facility=HOME if relation is Relation.OWN else OWNER, **number)


def _link(archive: Archive) -> int:
    """A row that a grant can name; what else a link needs is not what this is about."""
    with psycopg.connect(url_of(archive), autocommit=True) as connection:
        needed = connection.execute(
            """SELECT column_name, data_type FROM information_schema.columns
                WHERE table_name = 'share_link' AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'
            """
        ).fetchall()
        kinds = {"text": "'code'", "bigint": "1", "integer": "1", "bytea": "''", "boolean": "false"}
        values = ["now()" if "time" in str(kind) else kinds.get(str(kind), "'{}'") for _, kind in needed]
        connection.execute("SET session_replication_role = replica")
        names = ", ".join(str(name) for name, _ in needed)
        row = connection.execute(
            f"INSERT INTO share_link ({names}) VALUES ({', '.join(values)}) RETURNING id".encode()
        ).fetchone()
        assert row is not None
        return int(row[0])


def _callers(account: int, link: int) -> Iterator[tuple[str, Caller]]:
    for role in (each for each in Role if each is not Role.SERVICE):
        at_home = rights_of([Membership(role, HOME)])
        yield role.value, Caller(Kind.ACCOUNT, "binh", at_home, account=account)
        everywhere = rights_of([Membership(role, None)])
        yield f"{role.value} of the province", Caller(Kind.ACCOUNT, "binh", everywhere, account=account)
        elsewhere = rights_of([Membership(role, ELSEWHERE)])
        yield f"{role.value} elsewhere", Caller(Kind.ACCOUNT, "dung", elsewhere)
    for name, places in MIXED.items():
        yield name, Caller(Kind.ACCOUNT, "binh", rights_of([Membership(*each) for each in places]), account=account)
    for name, (view, copy) in SPLIT.items():
        split = {Right.VIEW: frozenset({view}), Right.COPY: frozenset({copy})}
        yield name, Caller(Kind.ACCOUNT, "binh", split, account=account)
    for right in Right:
        listed = rights_of([Membership(Role.SERVICE, HOME)], [right])
        yield f"service with {right.value}", Caller(Kind.SERVICE, "his", listed)
    yield "link", Caller(Kind.LINK, "1", {Right.VIEW: frozenset()}, link=link)
    yield "link with copies", Caller(Kind.LINK, "1", dict.fromkeys((Right.VIEW, Right.COPY), frozenset()), link=link)
    yield "sign-in off", ANYBODY
    yield "nobody", NOBODY


def expected(caller: Caller, action: Action, relation: Relation) -> int:
    """The status that the rule says; 200 with a search that must find, 404 with one that must not."""
    if caller.kind is Kind.NOBODY:
        return 401
    if not set(caller.rights) & action.rights:
        return 403
    seen, copied = seen_by(caller, Right.VIEW), copied_by(caller)
    if Right.COPY in action.rights and relation in copied:
        return 200
    if Right.VIEW not in caller.rights and Right.ORDERS in action.rights:
        return 200 if relation is Relation.OWN else 404
    if relation not in seen:
        return 404
    return 403 if action.copies and relation not in copied else 200


def test_every_cell_of_studies(site: Site, record_property: Callable[[str, object], None]) -> None:
    async def ask(client: httpx.AsyncClient, name: str, action: Action, relation: Relation) -> tuple[int, int]:
        path = action.path(site.studies[relation])
        answer = await client.get(path, headers={"x-caller": name, "accept": action.accept})
        status = answer.status_code
        if action.search and status in (200, 204):
            if path.startswith("/fhir"):
                found = _studies_of(answer.json(), site.studies[relation])
            else:
                found = [each["0020000D"]["Value"][0] for each in (answer.json() if answer.content else [])]
            assert set(found) <= {site.studies[relation].study}, (name, action.name, relation)
            status = 200 if found else 404
        if status in (206,):
            status = 200
        return status, expected(site.callers[name], action, relation)

    cells = [(name, action, relation) for name in site.callers for action in ACTIONS for relation in Relation]
    results = asyncio.run(_all(site.app, cells, ask))
    wrong = [
        f"{name}: {action.name}, {relation}: {got} instead of {want}"
        for (name, action, relation), (got, want) in zip(cells, results, strict=True)
        if got != want
    ]
    _report_size("studies over HTTP", cells, [want for _, want in results], record_property)
    assert not wrong, f"{len(wrong)} of {len(cells)}: " + "; ".join(wrong[:20])


def _studies_of(bundle: dict[str, Any], kept: Kept) -> list[str]:
    """The study, once for each match that is about it; of all else in the bundle something that is no study."""
    found = []
    for entry in bundle.get("entry", ()):
        resource = entry["resource"]
        if resource["resourceType"] in ("Endpoint", "Organization"):
            continue
        about = kept.study in str(resource) or kept.patient in str(resource)
        found.append(kept.study if about else f"other {resource['resourceType']}")
    return found


async def _all(app: FastAPI, cells: list[Any], ask: Callable[..., Any]) -> list[Any]:
    transport = httpx.ASGITransport(app=app)
    places = asyncio.Semaphore(_PACE)

    async def one(client: httpx.AsyncClient, cell: tuple[Any, ...]) -> Any:
        async with places:
            return await ask(client, *cell)

    async with httpx.AsyncClient(transport=transport, base_url="http://pacs") as client:
        return list(await asyncio.gather(*(one(client, cell) for cell in cells)))


def _report_size(
    what: str, cells: list[Any], wanted: list[int], record_property: Callable[[str, object], None]
) -> None:
    record_property(what, len(cells))
    assert_told(what, wanted)


# -- DIMSE: what C-FIND, C-MOVE and C-GET work with ------------------------------------------------------------------


def test_every_cell_of_peers(site: Site, record_property: Callable[[str, object], None]) -> None:
    wrong, cells = [], []
    for sees in ("own", "province"):
        peer = Peer.model_validate({"ae_title": "WS", "facility": HOME, "rights": ["find", "move"], "sees": sees})
        association = Association(peer, "WS", "PACS", "127.0.0.1", cast(Any, SimpleNamespace()))
        for relation, kept in site.studies.items():
            seen = relation in (
                {each for each in Relation if each is not Relation.UNKNOWN}
                if sees == "province"
                else SEEN[Reach.FACILITY]
            )
            copied = seen and (sees == "province" or relation in COPIED)
            for scope, allowed, service in (
                (association.scope, seen, "C-FIND"),
                (association.copying_scope, copied, "C-MOVE"),
            ):
                for level, keys in (
                    (Level.PATIENT, {0x00100020: kept.patient}),
                    (Level.STUDY, {0x0020000D: kept.study}),
                    (Level.STUDY, {0x00100020: f"{kept.patient[:-1]}*"}),
                    (Level.SERIES, {0x0020000D: kept.study}),
                    (Level.IMAGE, {0x0020000D: kept.study, 0x0020000E: kept.image[0]}),
                ):
                    cells.append(allowed)
                    found = bool(list(site.archive.browse(Query(level, keys), scope)))
                    if found != allowed:
                        wrong.append(f"{service} {sees} {relation} {level}: {found}")
    _report_size("peers", cells, [200 if each else 404 for each in cells], record_property)
    assert not wrong, "; ".join(wrong)


# -- routes that are about no study ----------------------------------------------------------------------------------

ROUTES: Final[tuple[tuple[str, str, frozenset[Right], bool], ...]] = (
    ("POST", "/", _VIEW, False),
    ("GET", "/worklist", frozenset((Right.ORDERS,)), False),
    ("GET", "/worklist/items", frozenset((Right.ORDERS,)), False),
    ("GET", "/worklist/items/1", frozenset((Right.ORDERS,)), False),
    ("GET", "/worklist/steps", frozenset((Right.ORDERS,)), False),
    ("GET", "/queues", frozenset((Right.OPERATE,)), True),
    ("GET", "/forwarding/queues", frozenset((Right.OPERATE,)), True),
    ("GET", "/peers", frozenset((Right.PEERS,)), False),
    ("GET", "/peers/new", frozenset((Right.PEERS,)), False),
    ("GET", "/peers/one?ae_title=CT1", frozenset((Right.PEERS,)), False),
    ("POST", "/peers/one", frozenset((Right.PEERS,)), False),
    ("GET", "/registry/peers", frozenset((Right.PEERS,)), False),
    ("GET", "/registry/peer?ae_title=CT1", frozenset((Right.PEERS,)), False),
    ("DELETE", "/registry/peer?ae_title=CT1", frozenset((Right.PEERS,)), False),
    ("GET", "/registry/tests/1", frozenset((Right.PEERS,)), False),
    ("GET", "/dicom-web/workitems", frozenset((Right.WORKITEMS,)), False),
    ("GET", "/dicom-web/workitems/1.2.3", frozenset((Right.WORKITEMS,)), False),
    ("GET", "/dicom-web/changes", frozenset((Right.FEED,)), False),
    ("POST", "/dicom-web/studies", frozenset((Right.STORE,)), False),
    ("GET", "/sharing/decisions", frozenset((Right.VIEW, Right.SHARE, Right.GRANTS)), False),
    ("GET", "/sharing/grants", frozenset((Right.SHARE, Right.GRANTS)), False),
    ("GET", "/sharing/notices", frozenset((Right.GRANTS,)), False),
    ("POST", "/sharing/referrals", frozenset((Right.SHARE,)), False),
    ("POST", "/sharing/consultations", frozenset((Right.SHARE,)), False),
    ("POST", "/sharing/break-glass", frozenset((Right.BREAK_GLASS,)), False),
    ("GET", "/viewer", _VIEW, False),
    ("GET", "/fhir/ServiceRequest", frozenset((Right.VIEW, Right.ORDERS)), False),
    ("GET", "/fhir/DiagnosticReport/x/_history", _VIEW, False),
    ("GET", "/fhir/Binary/x.1", _VIEW, False),
    ("POST", "/fhir/Patient/_search", _VIEW, False),
    ("GET", "/public/figures", frozenset(), False),
)
PUBLIC: Final = frozenset(("/public/figures",))
"""For everybody, where the settings say so."""


def test_every_cell_of_other_routes(site: Site, record_property: Callable[[str, object], None]) -> None:
    async def ask(client: httpx.AsyncClient, name: str, route: tuple[str, str, frozenset[Right], bool]) -> Any:
        method, path, rights, everywhere = route
        caller = site.callers[name]
        # Who may store for two facilities has to say for which.
        home = {FACILITY_HEADER: HOME} if HOME in (caller.rights.get(Right.STORE) or ()) else {}
        answer = await client.request(method, path, headers={"x-caller": name, **home})
        held = {right for right in rights if right in caller.rights}
        if caller.kind is Kind.LINK:
            held = set()
        if everywhere:
            held = {right for right in held if caller.rights[right] is None}
        want = 401 if caller.kind is Kind.NOBODY else 200 if held else 403
        if path in PUBLIC:
            want = 200
        got = answer.status_code if answer.status_code in (401, 403) else 200
        return got, want

    cells = [(name, route) for name in site.callers for route in ROUTES if site.callers[name].kind is not Kind.LINK]
    results = asyncio.run(_all(site.app, cells, ask))
    wrong = [
        f"{name}: {route[0]} {route[1]}: {got} instead of {want}"
        for (name, route), (got, want) in zip(cells, results, strict=True)
        if got != want
    ]
    _report_size("other routes", cells, [want for _, want in results], record_property)
    assert not wrong, f"{len(wrong)} of {len(cells)}: " + "; ".join(wrong[:20])


def test_the_rule_table_is_what_was_agreed() -> None:
    """So that nobody widens a role without seeing what it opens."""
    looks = {role for role in RIGHTS if Right.VIEW in RIGHTS[role]}
    assert looks == {Role.RADIOLOGIST, Role.CLINICIAN, Role.TECHNICIAN}
    assert {role for role in RIGHTS if Right.COPY in RIGHTS[role]} == {Role.RADIOLOGIST, Role.TECHNICIAN}
    assert {role for role in RIGHTS if Right.BREAK_GLASS in RIGHTS[role]} == {Role.RADIOLOGIST, Role.CLINICIAN}
