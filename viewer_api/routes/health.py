"""Is the service alive, can it serve, and what has it done so far."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from archive.errors import Unavailable
from archive.people.roles import Right
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN, needs
from viewer_api.metadata_ahead import waiting
from viewer_api.metrics import Metrics

router = APIRouter(tags=["operation"])

_STATUS: Final = {"application/json": {"schema": {"type": "object"}}}
_READY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Every component works", "content": _STATUS},
    503: {"description": "At least one component does not; the body says which and why", "content": _STATUS},
}


@router.get(
    "/health/live",
    summary="The process answers",
    response_class=Response,
    responses={200: {"content": _STATUS}},
    dependencies=[OPEN],
)
async def live() -> Response:
    """Touches nothing but the event loop: an orchestrator restarts the process when even this fails."""
    return _json({"status": "ok"}, 200)


@router.get(
    "/health/ready", summary="The service can serve", response_class=Response, responses=_READY, dependencies=[OPEN]
)
def ready(archive: ArchiveDep) -> Response:
    """Asks every component; a balancer sends no requests here while one fails."""
    components: dict[str, dict[str, Any]] = {
        name: {"status": "ok"} if reason is None else {"status": "failed", "reason": reason}
        for name, reason in archive.check().items()
    }
    if (spool := archive.waiting_for_s3()) is not None:
        components["spool"] = {"status": "ok", "objects": spool.objects, "bytes": spool.bytes}
    fine = all(component["status"] == "ok" for component in components.values())
    return _json({"status": "ok" if fine else "failed", "components": components}, 200 if fine else 503)


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    dependencies=[needs(Right.OPERATE)],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request, archive: ArchiveDep) -> Response:
    """Counters and histograms in the text format of Prometheus."""
    counters: Metrics = request.app.state.metrics
    if (waiting_for_s3 := archive.waiting_for_s3()) is not None:
        counters.spool(waiting_for_s3)
    # Without the index, the numbers of this process are still worth having.
    with contextlib.suppress(Unavailable):
        counters.queues(archive.routing.queues())
        counters.webhooks(archive.webhooks.list())
        counters.commitments(archive.commitments.listing.backlog(), archive.commitments.listing.counts())
        counters.metadata_waiting.set(waiting(archive))
    return Response(counters.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(content: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(content), status, {"Cache-Control": "no-store"}, "application/json")
