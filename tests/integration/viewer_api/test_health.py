"""Health and metrics."""

from __future__ import annotations

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from archive.core import Archive
from storage.uploader import Backlog
from tests.web_server import dataset, part10, serving, store, web  # noqa: F401
from viewer_api.app import create_app


def _samples(web: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:  # noqa: F811
    families = text_string_to_metric_families(web.get("/metrics").text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_live_and_ready(web: httpx.Client) -> None:  # noqa: F811
    assert web.get("/health/live").json() == {"status": "ok"}
    ready = web.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ok"
    assert {"index", "store"} <= ready.json()["components"].keys()


def test_what_waits_for_s3_is_told(archive: Archive, tmp_path: Path) -> None:
    """Counted in the folder itself, whichever process put it there."""
    waiting = tmp_path / "2026" / "11" / "23" / "ab"
    waiting.mkdir(parents=True)
    (waiting / "000.enc1").write_bytes(b"12345")
    (waiting / ".001.part").write_bytes(b"unfinished")
    archive._spool = Backlog(tmp_path)
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        assert client.get("/health/ready").json()["components"]["spool"] == {"status": "ok", "objects": 1, "bytes": 5}
        samples = {name: value for (name, _), value in _samples(client).items()}
        assert (samples["pacs_spool_objects"], samples["pacs_spool_bytes"]) == (1, 5)
        assert 0 <= samples["pacs_spool_oldest_seconds"] < 3600


def test_ready_says_which_component_fails_and_live_goes_on(archive: Archive) -> None:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        archive.close()
        broken = type(archive).check
        assert broken is not None
        archive.check = lambda: {"index": "PostgreSQL cannot be reached", "store": None}  # type: ignore[method-assign]
        ready = client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {
            "status": "failed",
            "components": {
                "index": {"status": "failed", "reason": "PostgreSQL cannot be reached"},
                "store": {"status": "ok"},
            },
        }
        assert client.get("/health/live").status_code == 200


def test_requests_are_counted_by_route_and_not_by_address(web: httpx.Client) -> None:  # noqa: F811
    for study in ("1.2.3", "1.2.4"):
        web.get(f"/dicom-web/studies/{study}/series")
    web.get("/no/such/page")
    samples = _samples(web)
    labels = frozenset({("method", "GET"), ("route", "/dicom-web/studies/{study}/series"), ("status", "200")})
    assert samples["pacs_http_requests_total", labels] == 2
    nowhere = frozenset({("method", "GET"), ("route", "(none)"), ("status", "404")})
    assert samples["pacs_http_requests_total", nowhere] == 1
    timed = frozenset({("method", "GET"), ("route", "/dicom-web/studies/{study}/series")})
    assert samples["pacs_http_request_seconds_count", timed] == 2
    assert samples["pacs_http_requests_in_flight", frozenset()] == 1  # the one that asks
    assert not [labels for _, labels in samples if any("1.2.3" in value for _, value in labels)]


def test_stored_objects_and_bytes_are_counted_by_outcome(web: httpx.Client) -> None:  # noqa: F811
    object_ = part10(dataset())
    assert store(web, object_).status_code == 200
    assert store(web, object_, b"nothing").status_code == 202
    samples = _samples(web)
    objects = {dict(labels)["outcome"]: v for (name, labels), v in samples.items() if name == "pacs_stow_objects_total"}
    sizes = {dict(labels)["outcome"]: v for (name, labels), v in samples.items() if name == "pacs_stow_bytes_total"}
    assert objects == {"stored": 1, "duplicate": 1, "refused": 1}
    assert sizes["stored"] > len(object_) / 2


def test_process_metrics_are_there_and_applications_do_not_share_counters(archive: Archive) -> None:
    with serving(create_app(archive)) as first, serving(create_app(archive)) as second:
        httpx.get(f"{first}/health/live")
        with httpx.Client(base_url=second) as client:
            samples = _samples(client)
    assert any(name == "process_resident_memory_bytes" for name, _ in samples)
    assert not any(name == "pacs_http_requests_total" for name, _ in samples)
