"""What every answer has in common: ids, headers, logs, limits, compression."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest

from archive.core import Archive
from config.settings import WebSettings
from tests.web_server import dataset, part10, serving, store, web  # noqa: F401
from viewer_api.app import create_app


def _access_log(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [r.__dict__["pacs_fields"] for r in caplog.records if r.name == "viewer_api.access"]


def test_each_answer_has_a_request_id_of_its_own(web: httpx.Client) -> None:  # noqa: F811
    first, second = (web.get("/health/live").headers["x-request-id"] for _ in range(2))
    assert first and second and first != second


def test_a_good_request_id_of_the_caller_is_kept_and_a_bad_one_is_not(web: httpx.Client) -> None:  # noqa: F811
    assert web.get("/health/live", headers={"X-Request-Id": "proxy-17"}).headers["x-request-id"] == "proxy-17"
    for bad in ("a b", "x" * 65, "<script>", ""):
        assert web.get("/health/live", headers={"X-Request-Id": bad}).headers["x-request-id"] != bad


def test_security_headers_are_on_every_answer(web: httpx.Client) -> None:  # noqa: F811
    for path in ("/", "/health/live", "/dicom-web/studies", "/nothing", "/openapi.json"):
        headers = web.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == ("same-origin" if path == "/" else "no-referrer")
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers or "uvicorn" in headers["server"]


def test_the_access_log_names_the_route_and_no_patient(
    web: httpx.Client,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    web.get("/dicom-web/studies", params={"PatientName": "TRAN*", "PatientID": "BN77"})
    web.get("/dicom-web/studies/1.2.345.6789/series")
    web.post("/", data={"name": "TRAN VAN B"})
    entries = _access_log(caplog)
    assert [entry["route"] for entry in entries] == ["/dicom-web/studies", "/dicom-web/studies/{study}/series", "/"]
    assert entries[0].keys() == {"method", "route", "status", "bytes", "ms"}
    everything = str([record.__dict__ for record in caplog.records if record.name.startswith("viewer_api")])
    for secret in ("TRAN", "BN77", "1.2.345.6789"):
        assert secret not in everything


def test_bodies_over_the_limit_are_refused(archive: Archive) -> None:
    small = archive.settings.model_copy(update={"web": WebSettings(maximum_request_bytes=1 << 20)})
    archive.settings = small
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        body = b"x" * ((1 << 20) + 1)
        headers = {"Content-Type": "application/dicom"}
        announced = client.post("/dicom-web/studies", content=body, headers=headers)
        # Without a Content-Length, the server learns the size only as the body arrives.
        chunked = client.post("/dicom-web/studies", content=iter([body[:1000], body[1000:]]), headers=headers)
        form = client.post("/", content=b"name=" + body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    for response in (announced, chunked, form):
        assert response.status_code == 413
        assert response.headers["content-type"] == "application/problem+json"


def test_text_is_compressed_and_data_are_not(web: httpx.Client) -> None:  # noqa: F811
    for _ in range(5):
        store(web, part10(dataset()))
    found = web.get("/dicom-web/studies", headers={"Accept-Encoding": "gzip"})
    assert found.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in found.headers["vary"].lower()
    with web.stream("GET", "/dicom-web/studies", headers={"Accept-Encoding": "gzip"}) as raw:
        assert gzip.decompress(b"".join(raw.iter_raw())) == found.content
    assert web.get("/", headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in web.get("/", headers={"Accept-Encoding": "identity"}).headers


def test_the_settings_say_how_many_threads_work(archive: Archive) -> None:
    app = create_app(archive)
    seen: list[float] = []

    @app.get("/threads")
    async def threads() -> None:
        seen.append(anyio.to_thread.current_default_thread_limiter().total_tokens)

    with serving(app) as url:
        httpx.get(f"{url}/threads")
    assert seen == [archive.settings.web.threads]


def test_openapi_describes_the_service(web: httpx.Client) -> None:  # noqa: F811
    api = web.get("/openapi.json").json()
    search = api["paths"]["/dicom-web/studies"]
    assert "application/dicom+json" in search["get"]["responses"]["200"]["content"]
    assert {"limit", "offset", "includefield", "fuzzymatching"} <= {p["name"] for p in search["get"]["parameters"]}
    assert "multipart/related" in search["post"]["requestBody"]["content"]
    identifiers = [
        operation["operationId"]
        for path in api["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    ]
    assert len(identifiers) == len(set(identifiers))
    assert "/" not in api["paths"]


def test_no_page_loads_from_other_hosts(web: httpx.Client) -> None:  # noqa: F811
    assert web.get("/docs").status_code == 404
    page = web.get("/").text
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def _start(*, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("PACS_")}, **variables}
    environment["PACS_ACCESS__SIGN_IN"] = "off"
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    return subprocess.Popen(
        [sys.executable, "-m", "viewer_api"], cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True
    )


def test_bad_settings_stop_the_start_with_a_sentence(tmp_path: Path) -> None:
    with _start(cwd=tmp_path, PACS_WEB__PORT="99999") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "web.port" in errors and "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_stops_cleanly_on_a_signal(archive: Archive, tmp_path: Path, number: signal.Signals) -> None:
    lines = []
    with _start(
        cwd=tmp_path,
        PACS_DATA_DIR=str(tmp_path),
        PACS_DATABASE__URL=archive.settings.database.url.get_secret_value(),
        PACS_WEB__PORT="0",
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "Uvicorn running" in line:
                process.send_signal(number)
    assert process.returncode == 0, lines
    assert "web service stopped" in lines[-1], lines
    assert not [line for line in lines if "Traceback" in line]
