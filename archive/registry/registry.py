"""Looks after the peers of the table: who may change what, and what was changed. The peers of the file are shown only.

Whoever looks after the peers of a facility can give nothing that reaches beyond it, and cannot touch a peer that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from archive.audit.events import Action, AuditEvent, Detail
from archive.audit.trail import Trail
from archive.database import in_transaction
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted, Outdated
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.registry.entries import ONE, Entry, entry_of, misfits, of_file, of_table, peer_of, settings_of
from archive.registry.limits import BeyondRights, beyond
from archive.registry.live import LivePeers
from config.peers import Peer
from config.settings import Settings

_ADD: Final = text("""
INSERT INTO peer (ae_title, settings, created_by, changed_by) VALUES (:ae_title, CAST(:settings AS jsonb), :by, :by)
""")
_CHANGE: Final = text("""
UPDATE peer SET settings = CAST(:settings AS jsonb), enabled = :enabled, revision = revision + 1,
       changed_at = clock_timestamp(), changed_by = :by
 WHERE ae_title = :ae_title
""")
# Of a device that was removed since, perhaps of another facility: whoever takes its name would be sent them.
_AWAITED: Final = text("SELECT 1 FROM route_task WHERE destination = :ae_title AND state = 'waiting' LIMIT 1")
_REMOVE: Final = text("DELETE FROM peer WHERE ae_title = :ae_title")


class Registry:
    """Used by all threads of a process. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, settings: Settings, trail: Trail, live: LivePeers) -> None:
        self._engine = engine
        self._settings = settings
        self._trail = trail
        self._live = live

    def listed(self, by: Caller) -> list[Entry]:
        """The peers of the facilities whose peers the caller looks after, by AE title. Raises `NotPermitted`."""
        by.require(Right.PEERS)
        where = by.rights[Right.PEERS]
        _, entries = of_table(self._engine, self._settings)
        found = [*of_file(self._settings), *entries]
        mine = [each for each in found if where is None or each.facility in where]
        return sorted(mine, key=lambda each: (each.ae_title, each.source))

    def one(self, by: Caller, ae_title: str) -> Entry:
        """One of them, that of the table if both have it. Raises `NotFound` also for those of others."""
        found = {each.source: each for each in self.listed(by) if each.ae_title == ae_title.strip(" ")}
        if not found:
            raise NotFound("no such peer")
        return found.get("page") or found["file"]

    def manages(self, by: Caller, entry: Entry) -> bool:
        """Whether the caller may change it."""
        return entry.source == "page" and not self._beyond(by, entry)

    def add(self, by: Caller, ae_title: str, settings: Mapping[str, Any]) -> Entry:
        """List a peer. Raises `NotPermitted`, `InvalidItem` by field, `Conflict` if the AE title is taken."""
        by.require(Right.PEERS)
        peer = self._checked(by, ae_title, settings)
        if any(each.ae_title == peer.ae_title for each in self._settings.peers):
            raise Conflict(f"{peer.ae_title} is listed in pacs.toml: change it there, or take another AE title")
        made = settings_of(peer)

        def work(connection: Connection) -> None:
            if by.rights[Right.PEERS] is not None and connection.execute(_AWAITED, {"ae_title": peer.ae_title}).first():
                raise BeyondRights({"ae_title": "was that of a device for which images still wait to be sent"})
            connection.execute(_ADD, {"ae_title": peer.ae_title, "settings": _json(made), "by": by.name})
            self._record(by, peer.ae_title, "peer added", [], _told(made, enabled=True))

        try:
            in_transaction(self._engine, work)
        except IntegrityError:
            raise Conflict(f"{peer.ae_title} is listed already") from None
        return self._after(by, peer.ae_title)

    def change(self, by: Caller, ae_title: str, settings: Mapping[str, Any], revision: int | None) -> Entry:
        """Give it these settings in place of those before. `revision` is the one that the caller has seen.

        Raises as `add`, `NotFound`, and `Outdated` if somebody changed it meanwhile.
        """
        peer = self._checked(by, ae_title, settings)
        return self._set(by, ae_title, revision, "peer changed", settings=settings_of(peer))

    def enable(self, by: Caller, ae_title: str, revision: int | None) -> Entry:
        """Let it call again. Raises as `change`."""
        return self._set(by, ae_title, revision, "peer enabled", enabled=True)

    def disable(self, by: Caller, ae_title: str, revision: int | None) -> Entry:
        """Let it call no more, nor be called; associations that it has open go on. Raises as `change`."""
        return self._set(by, ae_title, revision, "peer disabled", enabled=False)

    def remove(self, by: Caller, ae_title: str, revision: int | None) -> None:
        """List it no more. What it has sent stays. Raises as `change`."""

        def work(connection: Connection) -> None:
            entry = self._locked(connection, by, ae_title, revision)
            self._record(by, entry.ae_title, "peer removed", _told(entry.settings, enabled=entry.enabled), [])
            connection.execute(_REMOVE, {"ae_title": entry.ae_title})

        in_transaction(self._engine, work)
        self._live.refresh()

    # -- parts -------------------------------------------------------------------------------------------------------

    def _set(
        self,
        by: Caller,
        ae_title: str,
        revision: int | None,
        what: str,
        *,
        settings: Mapping[str, Any] | None = None,
        enabled: bool | None = None,
    ) -> Entry:
        def work(connection: Connection) -> None:
            entry = self._locked(connection, by, ae_title, revision)
            after = entry.settings if settings is None else settings
            is_now = entry.enabled if enabled is None else enabled
            self._record(
                by, entry.ae_title, what, _told(entry.settings, enabled=entry.enabled), _told(after, enabled=is_now)
            )
            given = {"ae_title": entry.ae_title, "settings": _json(after), "enabled": is_now, "by": by.name}
            connection.execute(_CHANGE, given)

        in_transaction(self._engine, work)
        return self._after(by, ae_title)

    def _checked(self, by: Caller, ae_title: str, settings: Mapping[str, Any]) -> Peer:
        """The peer, if it can be one and the caller may make it so. Raises `InvalidItem`, `NotPermitted`."""
        by.require(Right.PEERS)
        peer = peer_of(ae_title, settings)
        if faults := misfits(self._settings, peer):
            raise InvalidItem.of(faults)
        if faults := beyond(peer, by.rights[Right.PEERS], self._live, self._settings.node):
            raise BeyondRights(faults)
        return peer

    def _locked(self, connection: Connection, by: Caller, ae_title: str, revision: int | None) -> Entry:
        """The row, held until the transaction ends. Raises `NotFound`, `NotPermitted`, `Outdated`."""
        by.require(Right.PEERS)
        row = connection.execute(ONE, {"ae_title": ae_title.strip(" ")}).one_or_none()
        if row is None:
            if self.one(by, ae_title).source == "file":
                raise NotPermitted(f"{ae_title} is listed in pacs.toml: change it there")
            raise NotFound("no such peer")
        entry = entry_of(row, self._settings)
        where = by.rights[Right.PEERS]
        if where is not None and entry.facility not in where:
            raise NotFound("no such peer")
        if self._beyond(by, entry):
            raise NotPermitted("this peer reaches beyond the facilities whose peers you look after")
        if revision is not None and entry.revision != revision:
            raise Outdated(f"{entry.changed_by} has changed this peer meanwhile: look at it again")
        return entry

    def _beyond(self, by: Caller, entry: Entry) -> bool:
        return bool(beyond(entry.peer, by.rights[Right.PEERS], self._live, self._settings.node))

    def _after(self, by: Caller, ae_title: str) -> Entry:
        self._live.refresh()
        return self.one(by, ae_title)

    def _record(self, by: Caller, ae_title: str, what: str, before: list[str], after: list[str]) -> None:
        detail: dict[str, Detail] = {"what": what, "peer": ae_title}
        if gone := [each for each in before if each not in after]:
            detail["before"] = gone
        if new := [each for each in after if each not in before]:
            detail["after"] = new
        self._trail.record(AuditEvent(Action.SETTING, by, detail=detail))


def _told(settings: Mapping[str, Any], *, enabled: bool) -> list[str]:
    found = {**settings, **({} if enabled else {"enabled": False})}
    return [f"{name} = {_json(value)}" for name, value in sorted(found.items())]


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
