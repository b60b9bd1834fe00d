"""A study as a ZIP to be burnt or copied: for staff from the form of links, for patients whose link allows it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archive.core import Archive
from archive.people.caller import Caller
from archive.people.roles import Right
from config import clock
from viewer_api import zipped
from viewer_api.deps import ArchiveDep
from viewer_api.disc import PAGE, Written, documents, members
from viewer_api.gate import known_caller, needs
from viewer_api.links import PREFIX
from viewer_api.media_types import ZIP
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.patient import document_of
from viewer_api.pages.rendering import STATIC, text_page
from viewer_api.pages.study_rows import facility_name, row
from viewer_api.pages.study_search import clean
from viewer_api.same_origin import SameOrigin
from viewer_api.streaming import stream

router = APIRouter(include_in_schema=False, dependencies=[needs(Right.COPY)])
_FILES: Final = (("IHE_PDI/VIEWER.JS", "disc.js"), ("IHE_PDI/VIEWER.CSS", "disc.css"))


@router.post("/links/disc", dependencies=[needs(Right.DELIVER)])
def disc(request: Request, archive: ArchiveDep, _: SameOrigin, study: Annotated[str, Form()] = "") -> Response:
    """For staff."""
    return _disc(request, archive, clean(study))


@router.get(f"{PREFIX}/disc/{{study}}")
def patients_disc(request: Request, archive: ArchiveDep, study: str) -> Response:
    """For who holds a link that allows copies."""
    return _disc(request, archive, study)


def _disc(request: Request, archive: Archive, study: str) -> Response:
    caller = known_caller(request)
    # Before it is given: what was asked for may have been taken, whatever happens on the way.
    found = archive.locate(study, scope=caller.scope(right=Right.COPY))
    archive.deliveries.record(caller, study, "dicom_media")
    written, now = Written(), clock.now()

    def files() -> Iterator[zipped.Member]:
        yield from members(archive, found, written, now)
        yield from _pages(request, archive, caller, study, written, now)

    headers = {"Content-Disposition": 'attachment; filename="ket-qua.zip"', "Cache-Control": "no-store"}
    return stream(zipped.write(files()), ZIP, headers=headers)


def _pages(
    request: Request, archive: Archive, caller: Caller, study: str, written: Written, now: datetime
) -> Iterator[zipped.Member]:
    """What a person reads."""
    text = texts(language_of(request))
    results = archive.results.of_study(caller.scope(), study)
    yield from documents(archive, results, written)
    line = row(results.study, facility_name(archive, results.owner), text)
    stacks = [stack for stack in written.stacks.values() if stack.pictures]
    page = text_page(
        "disc.html",
        text,
        row=line,
        documents=[
            document_of(each, text, written.documents.get(each.instance.sop_instance_uid, ""))
            for each in results.reports
        ],
        stacks=[(stack.title, orjson.dumps(stack.pictures).decode(), stack.pictures[0]) for stack in stacks],
        made=now.strftime("%d/%m/%Y %H:%M"),
    )
    yield zipped.Member(PAGE, [page.encode()], now)
    readme = text_page("disc_readme.txt", text, row=line, as_stored=written.as_stored)
    # For editors of old Windows, which take a text without a mark for one in their own code page.
    yield zipped.Member("README.TXT", [readme.replace("\n", "\r\n").encode("utf-8-sig")], now)
    for path, file in _FILES:
        yield zipped.Member(path, [(STATIC / file).read_bytes()], now)
