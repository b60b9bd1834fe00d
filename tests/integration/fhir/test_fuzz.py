"""Whatever is asked is answered, and never by an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.core import Archive
from archive.fhir import service
from archive.fhir.search import CONTROLS
from archive.fhir.service import parameters_of, types
from archive.fhir.values import PREFIXES
from tests.integration.fhir.support import validate
from tests.integration.fhir.test_search import keep
from tests.integration.fhir.test_writes import FHIR, ORDER, PATIENT
from tests.web_server import fresh_archive, serving
from viewer_api.app import create_app

KINDS = types()
NAMES = sorted(
    {each.name for kind in KINDS for each in parameters_of(kind)} | {*CONTROLS, "_id", "_include:iterate", "_page"}
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.from_regex(
        r"\A[a-z]{0,2}[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?\Z"
    ),
    st.sampled_from(
        [
            "a|b",
            "|",
            "\\",
            "\\,",
            ",",
            "a,b\\",
            "urn:dicom:uid|",
            "Patient/1",
            "Patient/0",
            "true",
            "9" * 40,
            "%",
            "_",
            "'",
            "\0",
            "x" * 3000,
        ]
    ),
    st.builds(
        "{}{}".format, st.sampled_from(PREFIXES), st.sampled_from(["0001", "9998-12-31T23:59:59Z", "2026", "9990"])
    ),
)
MODIFIERS = st.sampled_from(
    [
        "",
        "",
        "",
        ":not",
        ":exact",
        ":contains",
        ":missing",
        ":identifier",
        ":Patient",
        ":above",
        ".identifier",
        ".name",
        ".birthdate",
        ".x",
    ]
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["reference", "system", "code", "coding", "value", "text", "type"]), inner, max_size=3
        ),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def web(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    facilities = [{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}]
    with fresh_archive(postgres, tmp_path_factory.mktemp("fhir"), facilities=facilities) as archive:
        _fill(archive)
        with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield client


def _fill(archive: Archive) -> None:
    for number in range(3):
        keep(archive, f"1.2.{number}", PatientID=f"P{number}")


@settings(max_examples=120)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.builds("{}{}".format, st.sampled_from(NAMES), MODIFIERS), VALUES), max_size=4),
    st.booleans(),
)
def test_no_search_is_an_error_of_ours(
    web: httpx.Client, kind: str, pairs: list[tuple[str, str]], strict: bool
) -> None:
    query = urlencode([(name, value.encode("utf-8", "replace")) for name, value in pairs])
    response = web.get(f"/fhir/{kind}?{query}", headers={"Prefer": "handling=strict"} if strict else {})
    assert response.status_code in (200, 400, 406, 413), (query, response.text)
    validate(response.json())


@settings(max_examples=60)
@given(
    st.sampled_from(["ServiceRequest", "Patient", "Subscription"]),
    st.sampled_from(sorted({*ORDER, *PATIENT, "channel", "criteria", "end"})),
    JSON,
)
def test_no_resource_is_an_error_of_ours(web: httpx.Client, kind: str, element: str, value: object) -> None:
    whole = {**(PATIENT if kind == "Patient" else ORDER), "resourceType": kind, element: value}
    response = web.post(f"/fhir/{kind}", json=whole, headers=FHIR)
    assert response.status_code in (200, 201, 202, 400, 422), (whole, response.text)
    validate(response.json())


@settings(max_examples=60)
@given(st.sampled_from([*KINDS, "Binary", "Subscription"]), st.text(min_size=1, max_size=80))
def test_no_id_is_an_error_of_ours(web: httpx.Client, kind: str, key: str) -> None:
    from urllib.parse import quote

    response = web.get(f"/fhir/{kind}/{quote(key.encode('utf-8', 'replace'), safe='')}")
    assert response.status_code in (200, 400, 404), (key, response.text)
    assert service.KINDS
