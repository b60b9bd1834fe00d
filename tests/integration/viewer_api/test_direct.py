"""Requests for frames that go past FastAPI: the same answers, gates and problems, and no way around any of them."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Receive, Scope, Send

from archive.core import Archive
from archive.people.caller import NOBODY
from tests.web_server import dataset, part10, serving, store
from viewer_api.app import create_app
from viewer_api.deps import ArchiveDep
from viewer_api.direct import Direct, gates_of
from viewer_api.gate import Needs, needs
from viewer_api.routes.frames import retrieve_frames

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


class _More(Needs):
    async def __call__(self, other: Annotated[None, Depends(_something)]) -> Any:  # type: ignore[override]
        raise AssertionError


def past_fastapi(app: FastAPI) -> Any:
    """The application without FastAPI: what is answered here is answered directly."""
    direct = Direct(_NobodyHome(), api=app, endpoint=retrieve_frames)

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
