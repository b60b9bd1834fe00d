"""Resources as answers: media types, entity tags, bundles (FHIR R4, http.html)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

import orjson
from fastapi import Request
from starlette.responses import Response

from archive.errors import NotAcceptable
from archive.fhir.context import Context
from archive.fhir.service import Found
from archive.fhir.terms import Json
from config import clock
from viewer_api.addresses import base_url
from viewer_api.deps import get_archive
from viewer_api.media_types import accepted

ROOT: Final = "/fhir"
MEDIA_TYPE: Final = "application/fhir+json"
_JSON: Final = frozenset((MEDIA_TYPE, "application/json", "text/json", "application/json+fhir", "json"))
_VERSIONS: Final = ("4.0", "4.0.1")


def context_of(request: Request) -> Context:
    """What resources are made with for this request. Raises `IndexUnavailable`."""
    site = base_url(request)
    return get_archive(request).fhir.context(site + ROOT, site)


def negotiate(request: Request) -> None:
    """Raise `NotAcceptable` unless JSON of R4 may be given."""
    asked = request.query_params.get("_format", "").replace(" ", "+")
    if asked:
        if asked.partition(";")[0].strip().lower() not in _JSON:
            raise NotAcceptable("_format: only JSON can be given (json, application/fhir+json)")
        return
    for wanted in accepted(request.headers.get("accept")):
        version = wanted.parameters.get("fhirversion", "4.0")
        if version in _VERSIONS and any("/" in name and wanted.matches(name) for name in _JSON):
            return
    raise NotAcceptable(f"only {MEDIA_TYPE} of FHIR 4.0 can be given")


def answer(
    request: Request, resource: Json, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A resource as a response."""
    option = orjson.OPT_INDENT_2 if request.query_params.get("_pretty") == "true" else 0
    given = {"Cache-Control": "no-store", "Vary": "Accept, Authorization, Cookie", **(headers or {})}
    return Response(orjson.dumps(resource, option=option), status, given, MEDIA_TYPE)


def read_answer(request: Request, resource: Json) -> Response:
    """The same for one that was read: with its version, or that the client has it already (http.html 3.1.0.5.1)."""
    meta = resource.get("meta", {})
    version = meta.get("versionId") or hashlib.sha256(orjson.dumps(resource)).hexdigest()[:32]
    headers = {"ETag": f'W/"{version}"', "Cache-Control": "private, no-cache"}
    changed = datetime.fromisoformat(meta["lastUpdated"]) if "lastUpdated" in meta else None
    if changed is not None:
        headers["Last-Modified"] = format_datetime(changed.astimezone(UTC), usegmt=True)
    if _is_known(request, version, changed):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return answer(request, resource, headers=headers)


def _is_known(request: Request, version: str, changed: datetime | None) -> bool:
    tags = request.headers.get("if-none-match")
    if tags is not None:
        found = {tag.strip().removeprefix("W/").strip('"') for tag in tags.split(",")}
        return version in found or "*" in found
    since = request.headers.get("if-modified-since")
    if since is None or changed is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except ValueError:
        return False
    return moment.tzinfo is not None and changed.replace(microsecond=0) <= moment


def searchset(kind: str, found: Found, context: Context) -> Json:
    """The bundle of a search (search.html 3.1.1.1.8)."""
    links = [{"relation": "self", "url": f"{context.base}/{kind}{_query(found.used)}"}]
    if found.next:
        links.append({"relation": "next", "url": f"{context.base}/{kind}?_page={quote(found.next)}"})
    entries = [*_entries(found.matches, "match", context), *_entries(found.included, "include", context)]
    issues = [issue("warning", "not-supported", f"{name} was not understood and left out") for name in found.ignored]
    if found.cut:
        issues.append(issue("warning", "too-costly", "more was to be included than one page holds"))
    if issues:
        entries.append({"resource": outcome(issues), "search": {"mode": "outcome"}})
    made: Json = {"resourceType": "Bundle", "type": "searchset", "meta": {"lastUpdated": now()}}
    if found.total is not None:
        made["total"] = found.total
    made["link"] = links
    if entries:
        made["entry"] = entries
    return made


def history(versions: Sequence[Json], context: Context) -> Json:
    """The bundle of all versions of one resource, the latest first (http.html 3.1.0.11)."""
    entries = []
    for each in versions:
        address, meta = f"{each['resourceType']}/{each['id']}", each["meta"]
        first = each is versions[-1]
        response = {
            "status": "201" if first else "200",
            "etag": f'W/"{meta["versionId"]}"',
            "lastModified": meta["lastUpdated"],
        }
        request = {"method": "POST", "url": each["resourceType"]} if first else {"method": "PUT", "url": address}
        entries.append(
            {"fullUrl": f"{context.base}/{address}", "resource": each, "request": request, "response": response}
        )
    links = [{"relation": "self", "url": f"{context.base}/{versions[0]['resourceType']}/{versions[0]['id']}/_history"}]
    return {"resourceType": "Bundle", "type": "history", "total": len(entries), "link": links, "entry": entries}


def _entries(resources: Iterable[Json], mode: str, context: Context) -> Iterable[Json]:
    for each in resources:
        address = f"{context.base}/{each['resourceType']}/{each['id']}"
        yield {"fullUrl": address, "resource": each, "search": {"mode": mode}}


def _query(pairs: Iterable[tuple[str, str]]) -> str:
    text = urlencode([*pairs], quote_via=quote)
    return f"?{text}" if text else ""


def now() -> str:
    """This moment."""
    return datetime.now(clock.VIETNAM).isoformat(timespec="milliseconds")


def issue(severity: str, code: str, text: str, expression: str = "") -> Json:
    """An issue of an OperationOutcome."""
    made: Json = {"severity": severity, "code": code, "diagnostics": text}
    return {**made, "expression": [expression]} if expression else made


def outcome(issues: Iterable[Json]) -> Json:
    """An OperationOutcome."""
    return {"resourceType": "OperationOutcome", "issue": [*issues]}
