"""``python -m viewer_api``: run the web service until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Final, NoReturn

import uvicorn
from fastapi import FastAPI

from archive.audit.upkeep import AuditUpkeep
from archive.core import Archive
from archive.errors import ArchiveError
from config.garbage import settle
from config.logs import configure, fields
from config.settings import Settings, SettingsError, load
from config.workers import Workers
from viewer_api.allocation import keep_pages
from viewer_api.app import create_app
from viewer_api.fhir.notifying import Notifier
from viewer_api.figure_pushes import FigurePushes
from viewer_api.front import Front
from viewer_api.https import BadCertificate, context_factory
from viewer_api.metadata_ahead import MetadataAhead
from viewer_api.server import Server
from viewer_api.webhooks import WebhookDelivery

log = logging.getLogger("viewer_api")

BAD_SETTINGS = 2
CANNOT_START = 1
_LONGEST_MESSAGE = 1 << 16
_GRACE_SECONDS = 30
"""What running answers get when the service stops; a balancer has long stopped sending by then."""
_NAME: Final = "viewer_api"


def main() -> int:
    """Load the settings and serve, in as many processes as they say. Returns the exit code."""
    try:
        settings = load()
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return BAD_SETTINGS
    configure(settings.log)
    keep_pages()
    try:
        tls = _tls(settings)
    except BadCertificate as error:
        log.error("the certificate of the web service cannot be used", extra=fields(reason=str(error)))
        return CANNOT_START
    count = settings.web_processes
    return _alone(settings, tls) if count == 1 else _together(settings, tls, count)


def _alone(settings: Settings, tls: dict[str, Any]) -> int:
    try:
        return _run(settings, tls, Front.alone())
    finally:
        log.info("web service stopped")


def _together(settings: Settings, tls: dict[str, Any], count: int) -> int:
    """Fork the processes, and keep them running until a signal says stop."""
    try:
        front = Front.open(settings, count)
    except OSError as error:
        log.error("the web service cannot start", extra=fields(reason=str(error)))
        return CANNOT_START

    def serve(front: Front) -> int:
        try:
            return _run(front.share(settings), tls, front)
        except SystemExit as end:  # by a signal
            return CANNOT_START if end.code else 0

    try:
        return Workers("web", front, count, serve).run()
    finally:
        front.clear()
        log.info("web service stopped")


def _run(settings: Settings, tls: dict[str, Any], front: Front) -> int:
    """Open the archive and serve it in this process until a signal says stop."""
    # The server gives the signal on to the handler that was there before, when it has shut down.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    name = f"{_NAME} {front.number}" if front.number else _NAME
    try:
        archive = Archive.open(settings, application=name)
    except ArchiveError as error:
        log.error("the archive cannot be opened", extra=fields(reason=str(error)))
        return CANNOT_START
    try:
        return serve(archive, settings, tls, front, name)
    finally:
        archive.close()


def serve(archive: Archive, settings: Settings, tls: dict[str, Any], front: Front, name: str = _NAME) -> int:
    """Serve the archive until a signal says stop."""
    app = create_app(archive, front)
    server = Server(
        app,
        uvicorn.Config(
            app,
            host=settings.web.host,
            port=settings.web.port,
            **tls,
            # Without proxies of ours, whoever calls could say to be anybody else.
            proxy_headers=bool(settings.web.trusted_proxies),
            # Our own: the one of uvicorn writes query strings, and replaces the configured logging.
            access_log=False,
            log_config=None,
            server_header=False,
            forwarded_allow_ips=list(settings.web.trusted_proxies),
            # Event channels only (PS3.18 11.13): what a client says there is of no interest.
            ws="websockets-sansio",
            ws_max_size=_LONGEST_MESSAGE,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        ),
        front,
    )
    where = {"host": settings.web.host, "port": settings.web.port}
    log.info("web service starts", extra=fields(**where, process=front.number))
    with ExitStack() as running:
        for each in _beside(archive, settings, app) if front.first else []:
            running.enter_context(each)
        running.enter_context(AuditUpkeep(archive, f"pacs {name}"))
        settle()
        server.run(None if front.listener is None else [front.listener])
    return 0 if server.started else CANNOT_START


def _beside(archive: Archive, settings: Settings, app: FastAPI) -> list[AbstractContextManager[object]]:
    """What one process of the service does for all."""
    metrics = app.state.metrics
    # The figures follow the feed, so they come behind its recorder.
    return [
        archive.recorder(),
        archive.figures.keeper(),
        archive.figures.watcher(),
        archive.figures.reports.maker(),
        FigurePushes(archive),
        archive.linker().running() if settings.identity.link == "on" else nullcontext(),
        WebhookDelivery(archive, metrics=metrics),
        MetadataAhead(archive, metrics),
        Notifier(archive),
    ]


def _tls(settings: Settings) -> dict[str, Any]:
    return {"ssl_context_factory": context_factory(settings.web.tls)} if settings.web.tls.listens else {}


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
