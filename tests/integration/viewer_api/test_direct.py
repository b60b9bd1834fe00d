"""Requests for frames that go past FastAPI: the same answers, gates and problems, and no way around any of them."""

from __future__ import annotations

import logging
import time
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archive.core import Archive
from archive.people.caller import NOBODY, Caller, Kind
from archive.people.roles import Right
from tests.integration.archive.support import sql
from tests.integration.audit.records import records
from tests.web_server import dataset, part10, serving, store
from viewer_api.app import create_app
from viewer_api.deps import ArchiveDep
from viewer_api.direct import Direct, gates_of
from viewer_api.gate import Needs, needs
from viewer_api.routes.frames import frame_at_hand, retrieve_frames

PIXELS = bytes(range(200)) * 2
IMAGE = dataset(
    Rows=10, Columns=10, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0, NumberOfFrames=2
)
IMAGE.SamplesPerPixel, IMAGE.PhotometricInterpretation, IMAGE.PixelData = 1, "MONOCHROME2", PIXELS
IMAGE["PixelData"].VR = "OW"
PATH = f"/dicom-web/studies/{IMAGE.StudyInstanceUID}/series/{IMAGE.SeriesInstanceUID}/instances/{IMAGE.SOPInstanceUID}"
OCTETS = {"Accept": "application/octet-stream"}


class _NobodyHome:
    """In the place of FastAPI: what comes here did not go past it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class _NoCredentials:
    async def caller(self, connection: Any) -> Any:
        return NOBODY


async def _something() -> None:
    raise AssertionError


def _something_else(*_: Any, **__: Any) -> Response:
    raise AssertionError


def in_the_end(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    """The answer that is given without a thread: until a connection for it is open, and the look on record, none is."""
    deadline = time.monotonic() + 120
    while (found := client.get(path, headers=headers)).status_code == 418:
        assert time.monotonic() < deadline
    return found


class _More(Needs):
    async def __call__(self, other: Annotated[None, Depends(_something)]) -> Any:  # type: ignore[override]
        raise AssertionError


class _OfFacility:
    """Somebody who may see what belongs to this facility."""

    def __init__(self, facility: str) -> None:
        self.who = Caller(Kind.ACCOUNT, "lan", {Right.VIEW: frozenset((facility,))}, account=1)

    async def caller(self, connection: Any) -> Caller:
        return self.who


def past_fastapi(app: FastAPI, *, threads: bool = True) -> Any:
    """The application without FastAPI: what is answered here is answered directly; maybe only without a thread."""
    direct = Direct(_NobodyHome(), api=app, endpoint=retrieve_frames, at_hand=frame_at_hand)
    if not threads:
        direct._endpoint = _something_else

    async def alone(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        scope["app"] = app
        await direct(scope, receive, send)

    return alone


@pytest.fixture
def app(archive: Archive) -> FastAPI:
    app = create_app(archive)
    with serving(app) as url, httpx.Client(base_url=url) as client:
        assert store(client, part10(IMAGE)).status_code == 200
    return app


def test_frames_go_past_the_framework_and_nothing_else_does(app: FastAPI) -> None:
    with serving(past_fastapi(app)) as url, httpx.Client(base_url=url, headers=OCTETS) as client:
        found = client.get(f"{PATH}/frames/2")
        assert (found.status_code, found.content) == (200, PIXELS[200:])
        ranged = client.get(f"{PATH}/frames/2", headers={"Range": "bytes=0-9"})
        assert (ranged.status_code, ranged.content) == (206, PIXELS[200:210])
        for path in (PATH, f"{PATH}/metadata", f"{PATH}/frames/1/rendered", "/", f"{PATH}/frames/", "/health/live"):
            assert client.get(path).status_code == 418, path
        assert client.options(f"{PATH}/frames/2").status_code == 418
        # What is not as it should be is for FastAPI to tell.
        for wrong in ("frames/3", "frames/0", "frames/x", "frames/1,2"):
            assert client.get(f"{PATH}/{wrong}").status_code == 418, wrong
        assert client.get(f"{PATH}0/frames/1").status_code == 418


def test_what_is_at_hand_is_given_without_a_thread(app: FastAPI, archive: Archive) -> None:
    with (
        serving(past_fastapi(app, threads=False)) as url,
        serving(app) as ordinary,
        httpx.Client(base_url=url, headers=OCTETS) as client,
    ):
        for _ in range(50):
            assert client.get(f"{PATH}/frames/2").status_code == 418, "nobody has put the look on record"
        asked = httpx.get(f"{ordinary}{PATH}/frames/2", headers=OCTETS)
        found = in_the_end(client, f"{PATH}/frames/2")
        assert (found.status_code, found.content) == (200, PIXELS[200:])
        assert {*found.headers} == {*asked.headers}
        same = ("etag", "content-type", "content-length", "cache-control", "vary", "content-security-policy")
        assert [found.headers[name] for name in same] == [asked.headers[name] for name in same]
        assert in_the_end(client, f"{PATH}/frames/1").content == PIXELS[:200]
        assert in_the_end(client, f"{PATH}/frames/1", Range="bytes=5-6").content == PIXELS[5:7]
        unchanged = in_the_end(client, f"{PATH}/frames/2", **{"If-None-Match": found.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        parts = {"Accept": 'multipart/related; type="application/octet-stream"'}
        in_parts = in_the_end(client, f"{PATH}/frames/2", **parts)
        asked = httpx.get(f"{ordinary}{PATH}/frames/1,2", headers=parts)
        boundary = in_parts.headers["content-type"].rpartition("boundary=")[2].partition(";")[0].encode()
        head = b"Content-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1\r\nContent-Length: 200\r\n"
        assert in_parts.content == b"--%b\r\n%b\r\n%b\r\n--%b--\r\n" % (boundary, head, PIXELS[200:], boundary)
        assert {*in_parts.headers} - {"content-length"} == {*asked.headers} - {"content-length"}
        assert in_parts.headers["content-length"] == str(len(in_parts.content))
        assert in_parts.headers["accept-ranges"] == "none"
        tag = in_parts.headers["etag"]
        assert tag.startswith("W/")
        assert in_the_end(client, f"{PATH}/frames/2", **parts, **{"If-None-Match": tag}).status_code == 304
        named = in_the_end(client, f"{PATH}/frames/2", **{"X-Request-Id": "lan-1"})
        assert named.headers["x-request-id"] == "lan-1"
        # All else takes longer, or is not as it should be.
        for wrong in ("frames/3", "frames/0", "frames/1,2", "frames/1-2"):
            assert client.get(f"{PATH}/{wrong}").status_code == 418, wrong
        for accept in ("image/jp2", "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"):
            assert client.get(f"{PATH}/frames/1", headers={"Accept": accept}).status_code == 418, accept
        archive.looks.close()
        assert client.get(f"{PATH}/frames/2").status_code == 418, "the look is over: another is to be put on record"


def test_each_frame_that_is_given_without_a_thread_is_counted_as_looked_at(app: FastAPI, archive: Archive) -> None:
    with serving(app) as url, httpx.Client(base_url=url, headers=OCTETS) as client:
        for _ in range(20):
            assert client.get(f"{PATH}/frames/1").status_code == 200
        numbers = client.get("/metrics").text
    archive.looks.close()
    (end,) = [each.detail for each in records(archive) if each.detail.get("phase") == "end"]
    assert (end["requests"], end["instances"]) == (20, 1)
    (line,) = [
        each for each in numbers.splitlines() if each.startswith("pacs_http_requests_total") and "frames" in each
    ]
    assert line.endswith(" 20.0")


def test_what_is_of_others_is_not_at_hand(app: FastAPI, archive: Archive) -> None:
    (own,) = sql(archive, "SELECT facility.code FROM study JOIN facility ON facility.id = study.facility_id")
    with (
        serving(past_fastapi(app, threads=False)) as url,
        serving(app) as ordinary,
        httpx.Client(base_url=url, headers=OCTETS) as client,
    ):
        app.state.sign_in = _OfFacility(own)
        assert httpx.get(f"{ordinary}{PATH}/frames/1", headers=OCTETS).status_code == 200
        assert in_the_end(client, f"{PATH}/frames/1").status_code == 200
        other = next(code for code in archive.peers.facilities if code != own)
        app.state.sign_in = _OfFacility(other)
        assert httpx.get(f"{ordinary}{PATH}/frames/1", headers=OCTETS).status_code == 404
        assert client.get(f"{PATH}/frames/1").status_code == 418
        app.state.sign_in = _OfFacility(own)
        assert in_the_end(client, f"{PATH}/frames/1").status_code == 200
        app.state.sign_in = _NoCredentials()
        assert client.get(f"{PATH}/frames/1").status_code == 418


def test_whoever_may_not_see_is_refused(app: FastAPI) -> None:
    app.state.sign_in = _NoCredentials()
    with serving(past_fastapi(app)) as url:
        assert httpx.get(f"{url}{PATH}/frames/1", headers=OCTETS).status_code == 418
    with serving(app) as url:
        refused = httpx.get(f"{url}{PATH}/frames/1", headers=OCTETS)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("frames/3", "application/octet-stream", 404),
        ("frames/0", "application/octet-stream", 400),
        ("frames/1", "image/jp2; transfer-syntax=1.2.3", 406),
        ("frames/1?view=everything", "application/octet-stream", 403),
    ],
)
def test_problems_are_told_as_always(app: FastAPI, path: str, accept: str, status: int) -> None:
    with serving(app) as url:
        answer = httpx.get(f"{url}{PATH}/{path}", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_the_log_names_the_route(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with serving(app) as url:
        assert httpx.get(f"{url}{PATH}/frames/1", headers=OCTETS).headers["x-request-id"]
    (entry,) = [r.__dict__["pacs_fields"] for r in caplog.records if r.name == "viewer_api.access"]
    assert entry["route"].endswith("/instances/{instance}/frames/{frames}")
    assert (entry["status"], entry["bytes"]) == (200, 200)


def test_a_route_that_needs_something_else_keeps_to_the_ordinary_way() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gate = needs()
    for name, dependencies in (
        ("/plain", [gate]),
        ("/more", [gate, Depends(_something)]),
        ("/nested", [Depends(_More())]),
    ):

        @app.get(name, dependencies=dependencies)
        def route(archive: ArchiveDep) -> None: ...

    found = {each.path: gates_of(each) for each in iter_route_contexts(app.routes)}
    assert found["/plain"] == [gate.dependency]
    assert found["/more"] is None
    assert found["/nested"] is None
