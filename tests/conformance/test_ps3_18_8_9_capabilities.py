"""PS3.18 8.9: what the service says of itself, and that it is what the routes do."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.web_server import shared_web  # noqa: F401

SERIES = "/dicom-web/studies/1.2/series/1.3"


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    return shared_web


def resources(response: httpx.Response) -> dict[str, set[str]]:
    """The paths, and the methods of each."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    found = response.json()["application"]["resources"]
    assert found["base"].endswith("/dicom-web/")
    return {each["path"]: {method["name"] for method in each["method"]} for each in found["resource"]}


@pytest.mark.parametrize("path", ["/dicom-web", "/dicom-web/"])
def test_the_root_describes_all_resources(web: httpx.Client, path: str) -> None:
    response = web.options(path)
    assert response.headers["allow"] == "GET, OPTIONS"
    found = resources(response)
    assert found["studies"] == {"GET", "POST"}
    assert found["studies/{study}/series/{series}/instances/{instance}/frames/{frames}"] == {"GET"}
    assert resources(web.get(path)) == found
    assert web.get(response.json()["openapi"]).json()["openapi"].startswith("3.")


def test_it_says_of_each_method_what_goes_in_and_what_comes_out(web: httpx.Client) -> None:
    (resource,) = web.options("/dicom-web/studies").json()["application"]["resources"]["resource"]
    methods: dict[str, Any] = {each["name"]: each for each in resource["method"]}
    assert {"fuzzymatching", "includefield", "limit"} <= {each["name"] for each in methods["GET"]["request"]["param"]}
    answers = {each["status"]: each for each in methods["GET"]["response"]}
    assert {"mediaType": "application/dicom+json"} in answers["200"]["representation"]
    assert {"mediaType": "multipart/related"} in methods["POST"]["request"]["representation"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/dicom-web/studies", "GET, OPTIONS, POST"),
        ("/dicom-web/studies/", "GET, OPTIONS, POST"),
        ("/dicom-web/studies/1.2", "DELETE, GET, OPTIONS, POST"),
        (SERIES + "/metadata", "GET, OPTIONS"),
        (SERIES + "/instances/1.4/bulkdata/54000100/0/54001010", "GET, OPTIONS"),
    ],
)
def test_a_resource_allows_what_its_routes_take(web: httpx.Client, path: str, allow: str) -> None:
    response = web.options(path)
    assert response.headers["allow"] == allow
    assert len(resources(response)) == 1
    refused = web.patch(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allow)
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/dicom-web/studie", "/dicom-web/studies/1.2/serie", "/dicom-web//", "/dicom-web/a/b"]
)
def test_what_there_is_not_is_not_found(web: httpx.Client, method: str, path: str) -> None:
    response = web.request(method, path)
    if path != "/dicom-web//":
        assert response.status_code == 404
        assert "/dicom-web tells which there are" in response.json()["detail"]
    assert response.status_code < 500


def test_a_slash_too_much_is_the_resource(web: httpx.Client) -> None:
    for path in ("/dicom-web/studies/", "/dicom-web//studies", "/dicom-web///studies///"):
        assert web.get(f"{path}?PatientID=a%20b&limit=1").json() == []
        assert web.options(path).headers["allow"] == web.options("/dicom-web/studies").headers["allow"]
    assert web.get("/dicom-web/").json() == web.get("/dicom-web").json()


def test_only_json_can_be_given(web: httpx.Client) -> None:
    assert web.options("/dicom-web", headers={"Accept": "application/vnd.sun.wadl+xml"}).status_code == 406
    assert web.options("/dicom-web", headers={"Accept": "text/html, */*;q=0.1"}).status_code == 200
