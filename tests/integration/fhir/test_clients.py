"""An independent client: fhirpy pages, includes, chains and creates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

from archive.core import Archive
from tests.integration.fhir.test_search import keep
from tests.integration.fhir.test_writes import ORDER
from tests.web_server import fresh_archive, serving
from viewer_api.app import create_app

FACILITIES = [{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}]


@pytest.fixture(scope="module")
def client(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncFHIRClient]:
    with fresh_archive(postgres, tmp_path_factory.mktemp("fhir"), facilities=FACILITIES) as archive:
        _fill(archive)
        with serving(create_app(archive)) as url:
            yield SyncFHIRClient(f"{url}/fhir")


def _fill(archive: Archive) -> None:
    for number in range(12):
        keep(archive, f"1.2.{number}", PatientID=f"P{number % 3}", PatientName=f"NGUYỄN^VĂN {'ABC'[number % 3]}")


def _without_type(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "resourceType"}


def test_it_pages_through_all(client: SyncFHIRClient) -> None:
    found = client.resources("ImagingStudy").limit(5).fetch_all()
    assert sorted(each["id"] for each in found) == sorted(f"1.2.{number}" for number in range(12))


def test_it_chains_and_includes(client: SyncFHIRClient) -> None:
    bundle = (
        client.resources("ImagingStudy").search(patient__identifier="P1").include("ImagingStudy", "patient").fetch_raw()
    )
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert (kinds.count("ImagingStudy"), kinds.count("Patient")) == (4, 1)
    study = client.resources("ImagingStudy").search(_id="1.2.1").get()
    assert study["subject"].to_resource()["name"][0]["text"] == "NGUYỄN VĂN B"


def test_it_counts_and_sorts(client: SyncFHIRClient) -> None:
    assert client.resources("Patient").count() == 3
    names = [each["name"][0]["text"] for each in client.resources("Patient").sort("-name").fetch()]
    assert names == ["NGUYỄN VĂN C", "NGUYỄN VĂN B", "NGUYỄN VĂN A"]


def test_it_creates_and_is_told_what_is_wrong(client: SyncFHIRClient) -> None:
    order = client.resource("ServiceRequest", **_without_type(ORDER))
    order.save()
    assert client.reference("ServiceRequest", order.id).to_resource()["requisition"]["value"] == "ACC77"
    with pytest.raises(OperationOutcome):
        client.resource("ServiceRequest", **_without_type({**ORDER, "intent": "plan"})).save()
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", "99999").to_resource()
