"""Every route says who may use it; who may not is told so, and nothing else."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.requests import HTTPConnection

from archive.core import Archive
from archive.people.caller import NOBODY, Caller, Kind
from archive.people.roles import Right
from tests.web_server import dataset, part10, serving, store
from viewer_api import gate
from viewer_api.app import create_app


class _Always:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def caller(self, connection: HTTPConnection) -> Caller:
        del connection
        return self._caller


def app_for(archive: Archive, caller: Caller) -> FastAPI:
    app = create_app(archive)
    app.state.sign_in = _Always(caller)
    return app


def _forgotten() -> None: ...


def test_a_route_that_says_nothing_stops_the_start() -> None:
    app = FastAPI(docs_url=None, redoc_url=None)
    router = APIRouter()
    router.add_api_route("/forgotten", _forgotten)
    app.include_router(router)
    with pytest.raises(RuntimeError, match="/forgotten"):
        gate.check(app)


@pytest.mark.parametrize("path", ["/", "/viewer", "/dicom-web/studies", "/dicom-web/studies/1.2/metadata", "/metrics"])
def test_nobody_is_asked_to_sign_in(archive: Archive, path: str) -> None:
    app = app_for(archive, NOBODY)
    with serving(app) as url:
        answer = httpx.get(url + path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_each_facility_finds_its_own(archive: Archive) -> None:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as web:
        assert store(web, part10(dataset())).status_code == 200
    for facility, found in (("UNKNOWN", 1), ("86001", 0)):
        app = app_for(archive, Caller(Kind.ACCOUNT, "a", {Right.VIEW: frozenset({facility})}))
        with serving(app) as url:
            assert len(httpx.get(f"{url}/dicom-web/studies").json()) == found


def test_the_right_to_look_is_not_the_right_to_take_away(archive: Archive) -> None:
    image = dataset()
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as web:
        assert store(web, part10(image)).status_code == 200
    app = app_for(archive, Caller(Kind.ACCOUNT, "a", {Right.VIEW: None}))
    with serving(app) as url:
        assert httpx.get(f"{url}/dicom-web/studies/1.2.3").status_code == 404
        assert httpx.get(f"{url}/dicom-web/studies/{image.StudyInstanceUID}/metadata").status_code == 200
        refused = httpx.get(f"{url}/dicom-web/studies/{image.StudyInstanceUID}")
    assert refused.status_code == 403
    assert "copy" in refused.json()["detail"]


_BROWSER = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}


def test_people_get_a_page_and_programs_a_problem(archive: Archive) -> None:
    app = app_for(archive, Caller(Kind.ACCOUNT, "a", {Right.DELIVER: None}))
    with serving(app) as url:
        for path, status, said in (("/queues", 403, "không có quyền"), ("/nowhere", 404, "Không có trang này")):
            shown = httpx.get(url + path, headers=_BROWSER)
            assert shown.status_code == status
            assert said in shown.text
            told = httpx.get(url + path)
            assert told.status_code == status
            assert told.headers["content-type"] == "application/problem+json"
