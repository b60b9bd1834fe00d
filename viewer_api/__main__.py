"""``python -m viewer_api``: run the web service until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from contextlib import nullcontext
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI

from archive.audit.upkeep import AuditUpkeep
from archive.core import Archive
from archive.errors import ArchiveError
from config.garbage import settle
from config.logs import configure, fields
from config.settings import Settings, SettingsError, load
from viewer_api.allocation import keep_pages
from viewer_api.app import create_app
from viewer_api.fhir.notifying import Notifier
from viewer_api.figure_pushes import FigurePushes
from viewer_api.https import BadCertificate, context_factory
from viewer_api.metadata_ahead import MetadataAhead
from viewer_api.webhooks import WebhookDelivery

log = logging.getLogger("viewer_api")

BAD_SETTINGS = 2
CANNOT_START = 1
_LONGEST_MESSAGE = 1 << 16
_GRACE_SECONDS = 30
"""What running answers get when the service stops; a balancer has long stopped sending by then."""


def main() -> int:
    """Load the settings, open the archive, serve. Returns the exit code."""
    try:
        settings = load()
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return BAD_SETTINGS
    configure(settings.log)
    keep_pages()
    # The server gives the signal on to the handler that was there before, when it has shut down.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    try:
        archive = Archive.open(settings, application="viewer_api")
    except ArchiveError as error:
        log.error("the archive cannot be opened", extra=fields(reason=str(error)))
        return CANNOT_START
    try:
        return serve(archive, settings)
    except BadCertificate as error:
        log.error("the certificate of the web service cannot be used", extra=fields(reason=str(error)))
        return CANNOT_START
    finally:
        archive.close()
        log.info("web service stopped")


class Server(uvicorn.Server):
    """Ends the waiting of those who wait for changes when it is to stop: that could last for ever."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.listeners.stopping = True
        await super().shutdown(sockets)


def serve(archive: Archive, settings: Settings) -> int:
    """Serve the archive until a signal says stop."""
    app = create_app(archive)
    server = Server(
        app,
        uvicorn.Config(
            app,
            host=settings.web.host,
            port=settings.web.port,
            **_tls(settings),
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
    )
    log.info("web service starts", extra=fields(host=settings.web.host, port=settings.web.port))
    audit = AuditUpkeep(archive, "pacs viewer_api")
    metrics = app.state.metrics
    # The figures follow the feed, so they come behind its recorder.
    with (
        archive.recorder(),
        archive.figures.keeper(),
        archive.figures.watcher(),
        archive.figures.reports.maker(),
        FigurePushes(archive),
        archive.linker().running() if settings.identity.link == "on" else nullcontext(),
        audit,
        WebhookDelivery(archive, metrics=metrics),
        MetadataAhead(archive, metrics),
        Notifier(archive),
    ):
        settle()
        server.run()
    return 0 if server.started else CANNOT_START


def _tls(settings: Settings) -> dict[str, Any]:
    return {"ssl_context_factory": context_factory(settings.web.tls)} if settings.web.tls.listens else {}


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
