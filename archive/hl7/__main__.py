"""``python -m archive.hl7``: take and send HL7 messages until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from archive.background import Background
from archive.core import Archive
from archive.errors import ArchiveError
from archive.hl7.desk import Desk
from archive.hl7.listener import Listener
from archive.hl7.upkeep import Upkeep
from config.logs import configure, fields
from config.settings import Settings, SettingsError, load
from config.tls import ExpiryWatch

log = logging.getLogger(__name__)


def main() -> int:
    """Exit code 0 after a stop by signal, 1 when the service cannot start, 2 for settings that cannot be used or
    do not enable it."""
    try:
        settings = load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure(settings.log)
    if not settings.hl7.enabled:
        print("HL7 is not enabled: set hl7.enabled in pacs.toml", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Archive.open(settings, application="pacs hl7") as archive:
            _serve(settings, archive, stop)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (ArchiveError, OSError) as error:
        print(f"the HL7 service cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(settings: Settings, archive: Archive, stop: threading.Event) -> None:
    try:
        listener = Listener(settings.hl7, Desk(settings.hl7, archive.messages.inbox))
    except ValueError as error:
        raise SettingsError(str(error)) from None
    listener.start()
    watch = Background("HL7 certificates", ExpiryWatch(settings.hl7.tls).look)
    with archive.messages.senders(), Upkeep(archive.messages), watch, archive.peers.following():
        stop.wait()
        log.info("HL7 service stops", extra=fields(connections=listener.connections))
        listener.stop()


if __name__ == "__main__":
    sys.exit(main())
