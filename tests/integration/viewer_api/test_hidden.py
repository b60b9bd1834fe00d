"""Rejected and quarantined objects over HTTP: views, the interface for administrators, the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from archive.core import Archive
from config.settings import Settings
from tests.factories import store as store_directly
from tests.integration.archive.test_quarantine import STRANGER
from tests.integration.archive.test_rejection import study_of
from tests.rejection_notes import QUALITY, SAFETY, note
from tests.web_server import part10, serving, store, web  # noqa: F401
from viewer_api.app import create_app

ADMIN = {"who": "BS Lan", "why": "chụp sai <b>bên</b>"}


@pytest.fixture
def opened(settings: Settings) -> Iterator[tuple[Archive, httpx.Client]]:
    """An archive whose web service shows everything to those who ask."""
    web_settings = settings.web.model_copy(update={"views": ("clinical", "quality", "everything")})
    with (
        Archive.open(settings.model_copy(update={"web": web_settings})) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield archive, client


def found(client: httpx.Client, path: str, view: str = "") -> list[Any]:
    response = client.get(f"/dicom-web/{path}", params={"view": view} if view else {})
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def test_every_resource_has_the_view_of_the_request(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images = study_of(3)
    for image in images:
        store_directly(archive, image)
    store_directly(archive, note(images[:1], QUALITY))
    store_directly(archive, note(images[1:2], SAFETY))
    study, series = images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    for view, count in (("", 1), ("clinical", 1), ("quality", 3), ("everything", 5)):
        (match,) = found(client, "studies", view)
        assert match["00201208"]["Value"] == [count]
        assert len(found(client, f"studies/{study}/instances", view)) == count
        assert len(found(client, f"studies/{study}/metadata", view)) == count
    for n, views in ((0, ("quality", "everything")), (1, ("everything",)), (2, ("clinical", "quality", "everything"))):
        path = f"studies/{study}/series/{series}/instances/{images[n].SOPInstanceUID}"
        for resource in ("", "/metadata", "/rendered", "/thumbnail", "/frames/1", "/bulkdata/7FE00010"):
            for view in ("clinical", "quality", "everything"):
                response = client.get(f"/dicom-web/{path}{resource}?view={view}")
                assert response.status_code == (200 if view in views else 404), (resource, view)
        uri = {"requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": images[n].SOPInstanceUID}
        assert client.get("/dicom-web/wado", params=uri).status_code == (200 if n == 2 else 404)
        assert client.get("/dicom-web/wado", params={**uri, "view": "everything"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("quarantine/release", {"sender": "A\0", "facility": "86001"}),
        ("quarantine/release", {"sender": "", "facility": "86001"}),
        ("quarantine/discard", {"sender": "A", "study": "1\0"}),
        ("quarantine/discard", {"sender": ""}),
        ("rejections", {"study": "1.2", "code": "113001", "why": "\0"}),
        ("forwarding/pause", {"destination": "A\0"}),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(
    opened: tuple[Archive, httpx.Client], path: str, body: dict[str, str]
) -> None:
    archive, client = opened
    (image,) = study_of(1)
    store_directly(archive, image)
    who = {} if path.startswith("forwarding") else ADMIN
    assert client.post(f"/{path}", json={**who, **body}).status_code == 400
    assert len(found(client, "studies")) == 1


def test_addresses_in_an_answer_lead_to_its_view(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    (image,) = study_of(1)
    store_directly(archive, image)
    store_directly(archive, note([image], QUALITY))
    (study,) = found(client, "studies", "quality")
    series = next(each for each in found(client, "series", "quality") if each["00080060"]["Value"] == ["CT"])
    (first,) = found(client, f"studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}/metadata", "quality")
    for address in (
        study["00081190"]["Value"][0] + "",
        series["00081190"]["Value"][0],
        first["7FE00010"]["BulkDataURI"],
    ):
        assert client.get(address).status_code == 200
        assert client.get(address.removesuffix("?view=quality")).status_code == 404
    assert client.get("/?view=quality").text.count("data-study=") == 1
    assert client.post("/?view=quality", data={"name": "nguyen"}).text.count("data-study=") == 1
    assert 'action="/?view=quality"' in client.get("/?view=quality").text
    assert client.get("/").text.count("data-study=") == 0


def test_a_view_that_is_not_open_is_refused(web: httpx.Client) -> None:  # noqa: F811
    for path in ("/dicom-web/studies", "/dicom-web/studies/1.2.3/metadata", "/"):
        assert web.get(f"{path}?view=everything").status_code == 403
        assert web.get(f"{path}?view=nonsense").status_code == 400
        assert web.get(f"{path}?view=clinical").status_code in (200, 404)
    for path in ("/rejections", "/rejections/1.2.3", "/quarantine", "/hidden"):
        assert web.get(path).status_code == 403
    for path in ("/rejections", "/rejections/1.2.3/undo", "/quarantine/release", "/quarantine/discard"):
        assert web.post(path, json={}).status_code == 403


def test_a_note_by_stow_takes_effect_and_says_what_it_may_not(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    mine, theirs = study_of(2), study_of(1)
    assert store(client, *map(part10, mine)).status_code == 200
    store_directly(archive, theirs[0])
    assert store(client, part10(note(mine[:1], SAFETY))).status_code == 200
    assert len(found(client, f"studies/{mine[0].StudyInstanceUID}/instances")) == 1
    response = store(client, part10(note(theirs, SAFETY)))
    assert response.status_code == 202
    (item,) = response.json()["00081199"]["Value"]
    assert item["00081196"]["Value"] == [0xB007]
    assert item["00000902"]["Value"] == ["stored; 1 of 1 instances belong to another facility"]
    assert len(found(client, f"studies/{theirs[0].StudyInstanceUID}/instances")) == 1


def test_rejecting_and_undoing_by_http(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images = study_of(3)
    for image in images:
        store_directly(archive, image)
    study = images[0].StudyInstanceUID
    body = {**ADMIN, "study": study, "instances": [images[0].SOPInstanceUID], "code": "113037"}
    made = client.post("/rejections", json=body)
    assert made.status_code == 201, made.text
    uid = made.json()["uid"]
    assert len(found(client, f"studies/{study}/instances")) == 2
    (listed,) = client.get("/rejections", params={"study": study}).json()
    assert (listed["uid"], listed["hidden"], listed["meaning"]) == (uid, 1, "Rejected for Patient Safety Reasons")
    shown = client.get(made.headers["location"]).json()
    (named,) = shown["instances"]
    assert (named["instance"], named["hidden"], named["stored"]) == (images[0].SOPInstanceUID, ["safety"], True)
    assert [each["action"] for each in shown["actions"]] == ["note received", "rejected"]
    assert client.post(f"/rejections/{uid}/undo", json=ADMIN).status_code == 201
    assert len(found(client, f"studies/{study}/instances")) == 3
    assert client.post(f"/rejections/{uid}/undo", json=ADMIN).status_code == 404
    for wrong, status in (
        ({**body, "code": "113000"}, 400),
        ({**body, "study": "nonsense"}, 400),
        ({**body, "study": "1.2.3"}, 404),
        ({**body, "who": ""}, 400),
        ({**body, "extra": 1}, 400),
        ({**body, "instances": []}, 400),
    ):
        assert client.post("/rejections", json=wrong).status_code == status, wrong
    # No page of another site can send this type.
    assert client.post("/rejections", data={"study": study}).status_code == 415
    assert client.post("/rejections", json=body, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/rejections?limit=100000").status_code == 400


def test_quarantine_by_http_and_the_page(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    first, second = study_of(2), study_of(1)
    for image in (*first, *second):
        store_directly(archive, image, STRANGER)
    known = study_of(1)
    store_directly(archive, known[0])
    client.post("/rejections", json={**ADMIN, "study": known[0].StudyInstanceUID, "code": "113038"})
    page = client.get("/hidden").text
    assert "WHO@10.1.2.3" in page and first[0].StudyInstanceUID in page and "Chọn sai chỉ định" in page
    assert "&lt;b&gt;bên" in page and "<b>bên" not in page
    assert "Incorrect modality worklist entry" in client.get("/hidden?lang=en").text
    assert [each["instances"] for each in client.get("/quarantine").json()] == [1, 2]
    decision = {**ADMIN, "sender": "WHO@10.1.2.3", "study": first[0].StudyInstanceUID}
    assert client.post("/quarantine/release", json={**decision, "facility": "99999"}).status_code == 404
    released = client.post("/quarantine/release", json={**decision, "facility": "86001"})
    assert released.json() == {"objects": 2, "copies": 0, "left": 0}
    assert len(found(client, f"studies/{first[0].StudyInstanceUID}/instances")) == 2
    discarded = client.post("/quarantine/discard", json={**ADMIN, "sender": "WHO@10.1.2.3"})
    assert discarded.json() == {"instances": 1}
    assert client.get(f"/dicom-web/studies/{second[0].StudyInstanceUID}?view=everything").status_code == 404
