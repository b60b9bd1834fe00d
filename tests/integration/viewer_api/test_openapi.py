"""The service keeps what its OpenAPI document says: statuses, media types, no failures of ours, whatever is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.corpus import storage_objects
from tests.web_server import fresh_archive, serving, store_files
from viewer_api.app import create_app

EXAMPLES = 4
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def web(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    views = {"views": ["clinical", "quality", "everything"]}
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("described"), web=views) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        store_files(client, *(path for path in storage_objects() if path.name in ("CT_small.dcm", "test-SR.dcm")))
        yield client


@schemathesis.serializer("multipart/related", "application/dicom")
def octets(ctx: Any, value: Any) -> Any:
    """Bodies that are no DICOM: what is stored properly is for other tests."""
    return value if isinstance(value, bytes) else str(value).encode()


def stored(web: httpx.Client) -> dict[str, str]:
    (found, *_) = web.get("/dicom-web/instances", params={"Modality": "CT"}).json()
    keys = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}
    return {name: found[key]["Value"][0] for name, key in keys.items()} | {"frames": "1", "path": "7FE00010"}


@pytest.mark.parametrize("kind", ["allowed", "not allowed", "of what is stored"])
def test_every_operation_does_what_its_description_says(web: httpx.Client, kind: str) -> None:
    schema = schemathesis.openapi.from_dict(web.get("/openapi.json").json())
    schema.config.update(base_url=str(web.base_url))
    mode = GenerationMode.NEGATIVE if kind == "not allowed" else GenerationMode.POSITIVE
    names = stored(web) if kind == "of what is stored" else {}
    wrong: dict[str, str] = {}
    statuses: set[int] = set()

    for found in schema.get_all_operations():
        operation = found.ok()
        if names and not operation.path_parameters:
            continue

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Any) -> None:
            for name in case.path_parameters or ():
                case.path_parameters[name] = names.get(name, case.path_parameters[name])
            if "wait" in (case.query or {}) and kind != "not allowed":
                case.query["wait"] = 0  # for what nobody changes
            response = case.call(timeout=120)
            statuses.add(response.status_code)
            case.validate_response(response, checks=CHECKS)

        try:
            holds()
        except Unsatisfiable:
            assert kind == "not allowed"  # it has no parameters, so none can be wrong
        except (FailureGroup, Failure) as error:
            wrong[operation.label] = str(error)
    assert not wrong, "\n\n".join(f"{label}: {text}" for label, text in wrong.items())
    assert {"allowed": 404, "not allowed": 400, "of what is stored": 200}[kind] in statuses
