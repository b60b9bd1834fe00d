"""What is listed, in ``pacs.toml`` and in the table, and whether it is in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import ValidationError
from sqlalchemy import Engine, Row, text

from archive.database import fetch
from archive.errors import InvalidItem
from config.peers import UNKNOWN_FACILITY, Peer
from config.settings import Settings

EPOCH: Final = text("SELECT epoch FROM peer_epoch")
# One statement, so one state of both tables.
_ALL: Final = text("SELECT epoch, peer.* FROM peer_epoch LEFT JOIN peer ON true ORDER BY ae_title")
ONE: Final = text("SELECT * FROM peer WHERE ae_title = :ae_title FOR UPDATE")

State = Literal["enabled", "disabled", "overruled", "unusable"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A peer as it is listed."""

    ae_title: str
    source: Literal["file", "page"]
    """``file``: ``pacs.toml``. ``page``: the table, whoever put it there."""
    settings: Mapping[str, Any]
    """As JSON, without the AE title and what is as by default."""
    peer: Peer
    """A stand-in where the settings cannot be used."""
    state: State = "enabled"
    """``overruled``: the file has the AE title, too, and holds. ``unusable``: see `faults`."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """What of the settings cannot be used, by field."""
    enabled: bool = True
    revision: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    changed_at: datetime | None = None
    changed_by: str = ""

    @property
    def facility(self) -> str:
        """Whose it is, or was to be."""
        return str(self.settings.get("facility", self.peer.facility))


def settings_of(peer: Peer) -> dict[str, Any]:
    """What of a peer is otherwise than by default, as JSON, in an order of its own."""
    found = peer.model_dump(mode="json", exclude={"ae_title"}, exclude_defaults=True)
    if "rights" in found:
        found["rights"] = sorted(found["rights"])
    return dict(sorted(found.items()))


def peer_of(ae_title: str, settings: Mapping[str, Any]) -> Peer:
    """The peer that these settings describe. Raises `InvalidItem` with each field that is wrong."""
    try:
        return Peer.model_validate({**settings, "ae_title": ae_title})
    except ValidationError as error:
        raise InvalidItem.of(dict(_faults(error))) from None


def misfits(settings: Settings, peer: Peer) -> dict[str, str]:
    """What of a peer does not fit the rest of the settings, by field."""
    found = {}
    if peer.facility not in settings.peer_book().facilities:
        found["facility"] = "is none of the facilities of pacs.toml"
    if fault := settings.node.tls.fault_of(peer):
        found[fault[0]] = fault[1]
    if peer.ae_title == settings.node.ae_title:
        found["ae_title"] = "is that of this archive"
    return found


def of_file(settings: Settings) -> list[Entry]:
    """The peers of ``pacs.toml``."""
    return [Entry(peer.ae_title, "file", settings_of(peer), peer) for peer in settings.peers]


def of_table(engine: Engine, settings: Settings) -> tuple[int, list[Entry]]:
    """The number of the last change, and the peers of the table. Raises `IndexUnavailable`."""
    rows = fetch(engine, _ALL)
    epoch = int(rows[0].epoch) if rows else 0
    return epoch, [entry_of(row, settings) for row in rows if row.ae_title is not None]


def entry_of(row: Row[Any], settings: Settings) -> Entry:
    """A row of the table."""
    faults: dict[str, str] = {}
    peer: Peer = Peer.model_construct(ae_title=row.ae_title, facility=UNKNOWN_FACILITY.code)
    try:
        made = peer_of(row.ae_title, row.settings)
        faults = misfits(settings, made)
        peer = peer if faults else made
    except InvalidItem as error:
        faults = error.faults
    titles = {each.ae_title for each in settings.peers}
    state: State = "enabled" if row.enabled else "disabled"
    if row.ae_title in titles:
        state = "overruled"
    elif faults:
        state = "unusable"
    return Entry(
        row.ae_title,
        "page",
        row.settings,
        peer,
        state,
        faults,
        row.enabled,
        revision=row.revision,
        created_at=row.created_at,
        created_by=row.created_by,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


def _faults(error: ValidationError) -> Iterator[tuple[str, str]]:
    for each in error.errors():
        said = each["msg"].removeprefix("Value error, ")
        path = ".".join(str(part) for part in each["loc"])
        # Rules about several fields name them in their sentence, the one to be changed first.
        yield path or next((name for name in ("certificates", "tls_name", "host") if name in said), ""), said
