"""The web service: DICOMweb, the study list and the viewer in one application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from archive.core import Archive
from viewer_api import gate, openapi, pages, problems
from viewer_api.audited import Recorded
from viewer_api.compression import Compression
from viewer_api.direct import Direct
from viewer_api.fhir import routes as fhir
from viewer_api.fhir import subscribing as fhir_subscribing
from viewer_api.fhir import writes as fhir_writes
from viewer_api.fhir.outcomes import Outcomes
from viewer_api.front import Front
from viewer_api.links import BelowPrefix, LinkSignIn
from viewer_api.listeners import Listeners
from viewer_api.metrics import Metrics
from viewer_api.middleware import Observer, SizeLimit
from viewer_api.oidc.provider import Provider
from viewer_api.pages.trouble import trouble_page
from viewer_api.routes import (
    audit,
    bulkdata,
    capabilities,
    changes,
    figures,
    frames,
    health,
    hidden,
    identity,
    links,
    messages,
    peers,
    public,
    qido,
    queues,
    reject,
    rendered,
    reports,
    sharing,
    stow,
    ups,
    ups_events,
    viewer,
    wado,
    wado_uri,
    worklist,
)
from viewer_api.sign_in import accounts, federated, passkeys, profile, set_up, tokens
from viewer_api.sign_in import pages as sign_in_pages
from viewer_api.sign_in.finding import SessionSignIn
from viewer_api.sign_in.throttle import Throttle
from viewer_api.store_queue import store_threads
from viewer_api.tidy_paths import TidyPaths


def create_app(archive: Archive, front: Front | None = None) -> FastAPI:
    """The application that serves this archive. Who opened the archive closes it.

    `front` is what it shares with other processes of the same service.
    """
    front = front or Front.alone()
    app = WebService(
        title="Provincial PACS",
        summary="Medical images of a province: DICOMweb (PS3.18), study list and viewer",
        version="0.1.0",
        lifespan=_lifespan,
        # The pages for trying out the API load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.archive = archive
    app.state.front = front
    app.state.metrics = Metrics(front)
    off = archive.settings.access.sign_in == "off"
    app.state.sign_in = gate.NoSignIn() if off else SessionSignIn(archive, front.sign_ins.of(front.number))
    app.state.link_sign_in = LinkSignIn(archive, front.links.of(front.number))
    app.state.throttle = Throttle(table=front.failures)
    app.state.public_throttle = Throttle(tries=public.TRIES, seconds=public.SECONDS, table=front.questions)
    app.state.providers = {each.name: Provider(each) for each in archive.settings.oidc}
    app.state.listeners = Listeners(archive, front)
    # Not those of the routes: whoever reads a request waits for these, and must not do so in their place.
    app.state.storing = store_threads()
    app.state.trouble_page = trouble_page
    problems.install(app)
    for module in (
        health,
        qido,
        wado,
        wado_uri,
        rendered,
        bulkdata,
        stow,
        reject,
        ups,
        ups_events,
        changes,
        figures,
        public,
        hidden,
        identity,
        links,
        reports,
        sharing,
        viewer,
        worklist,
        queues,
        messages,
        peers,
        audit,
        sign_in_pages,
        federated,
        set_up,
        passkeys,
        profile,
        accounts,
        tokens,
        pages,
        capabilities,
        fhir,
        fhir_writes,
        fhir_subscribing,
    ):
        app.include_router(module.router)
    app.include_router(passkeys.own)
    app.include_router(fhir.other_router)
    gate.check(app)
    openapi.install(app)
    # The last one added is the outermost; the first is past nothing but FastAPI itself.
    app.add_middleware(Recorded)
    app.add_middleware(SizeLimit, maximum=archive.settings.web.maximum_request_bytes)
    app.add_middleware(Compression)
    app.add_middleware(BelowPrefix)
    app.add_middleware(Observer, metrics=app.state.metrics)
    app.add_middleware(Outcomes)
    app.add_middleware(TidyPaths)
    # Past all of these: what it needs of them it does itself.
    app.direct = Direct(app.framework, api=app, endpoint=frames.retrieve_frames, at_hand=frames.frame_at_hand)
    return app


class WebService(FastAPI):
    """FastAPI, and the way of requests past it."""

    direct: Direct | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.direct or self.framework)(scope, receive, send)

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What FastAPI does with a request."""
        await super().__call__(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Handlers are plain functions and run in these threads; the settings say how many at once.
    archive: Archive = app.state.archive
    anyio.to_thread.current_default_thread_limiter().total_tokens = archive.settings.web.threads
    try:
        with ExitStack() as running:
            running.enter_context(archive.peers.following())
            if app.state.front.first:
                for each in (archive.ups.upkeep(), archive.people.upkeep(), archive.report_objects.upkeep()):
                    running.enter_context(each)
            yield
    finally:
        app.state.storing.shutdown()
        for provider in app.state.providers.values():
            provider.close()


def _operation_id(route: APIRoute) -> str:
    return route.name
