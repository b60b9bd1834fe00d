"""Tables of `docs.generate` about who may do what, and by which defaults."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

from fastapi.routing import iter_route_contexts

from archive.core import Archive
from archive.demo import SETTINGS
from archive.people.caller import of_peer
from archive.people.roles import Right
from config.peers import Peer
from config.settings import Settings, load
from dicom_node.contexts import COMMAND_SERVICES
from viewer_api.app import create_app
from viewer_api.gate import Asked, Needs

Table = tuple[Sequence[str], list[tuple[str, ...]]]
_PEER_RIGHTS: Final = {
    "store": "C-STORE",
    "find": "C-FIND",
    "move": "C-MOVE, C-GET",
    "worklist": "C-FIND of the worklist; MPPS N-CREATE, N-SET, N-GET",
    "commit": "Storage Commitment N-ACTION",
}
# Requirement of TCVN 14423:2026 and of the laws beside it, setting, and what the operator adds.
_LEVEL_3: Final = (
    ("MFA for administrators (x.6.2.4)", "access.mfa", "people of other roles by `everybody`, for whom it is optional"),
    ("Session lock after 15 minutes", "access.idle_minutes", ""),
    ("Session lock of administrators after 5 minutes", "access.idle_minutes_administrators", ""),
    ("Lock after 5 wrong sign-ins", "access.tries", ""),
    ("... for some time", "access.lock_minutes", ""),
    ("Administrators' passwords at most 2 months old", "access.password_days_administrators", ""),
    ("Idle accounts disabled after 45 days", "access.disable_after_days", ""),
    ("Roles and rights reviewed every 6 months", "access.review_days", "the review itself: due accounts are marked"),
    ("Everybody signs in", "access.sign_in", ""),
    ("Logs reviewed every 6 months (5.8.2.1)", None, "the review, by *Audit* and `python -m archive audit review`"),
    ("Access to patients on record as long as the record", "audit.access_keep_days", "0 is for ever"),
    ("Security log of at least 12 months", "audit.security_keep_days", ""),
    ("Logs sent to a central place (SIEM)", "audit.syslog.host", "the collector"),
    ("Encryption in transit (5.4.2)", "node.tls", "certificates; a proxy or `[web.tls]` before the web service"),
    ("Encryption at rest, key lifecycle (5.4.2)", "storage.encryption.active", "a key file or a key service"),
    ("Integrity code", None, "nothing: SHA-256 of each object, chains of hashes in the audit trail"),
    ("Backup 3-2-1, central, encrypted (5.11.2.1-3)", None, "copies of database and store, a second place"),
    ("WAF, zones, NAC, anti-DDoS, hot standby (5.12.2)", None, "the network and a second server"),
    ("NTP (5.13)", None, "the clock of each server"),
    ("EDR, vulnerability scans, penetration test (5.17)", None, "who runs them; the tests below are the start of one"),
)


def route_rights() -> Table:
    """What each address needs, asked of the gate that stands before it."""
    settings = load(SETTINGS, environ={}, access={"sign_in": "off"})
    app = create_app(cast(Archive, SimpleNamespace(settings=settings)))
    found: dict[tuple[str, str], set[str]] = {}
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        calls = [] if dependant is None else [each.call for each in dependant.dependencies]
        methods = getattr(context, "methods", None) or {"WebSocket"}
        for method in methods - {"HEAD", "OPTIONS"}:
            found.setdefault((_needed(calls), str(context.path)), set()).add(method)
    rows: list[tuple[str, ...]] = [
        (f"`{path}`", ", ".join(sorted(methods)), needed) for (needed, path), methods in found.items()
    ]
    return ("Address", "Methods", "Right"), sorted(rows)


def _needed(calls: Sequence[Any]) -> str:
    # All gates of a route have to be passed; a gate opens by any of its rights.
    gates = [call for call in calls if isinstance(call, Needs)]
    if not gates:
        return "by who asks" if any(isinstance(call, Asked) for call in calls) else "for everybody"
    told = []
    for gate in gates:
        rights = "any" if set(gate.rights) == set(Right) else " or ".join(f"`{right}`" for right in gate.rights)
        told.append(f"{rights}, for the whole province" if gate.everywhere else rights)
    return "; and ".join(dict.fromkeys(told))


def peer_rights() -> Table:
    """What the rights of a peer let through, and what they are in the table of rights."""
    rows: list[tuple[str, ...]] = []
    for name, services in _PEER_RIGHTS.items():
        peer = Peer.model_validate({"ae_title": "X", "facility": "86001", "rights": [name]})
        granted = ", ".join(f"`{right}`" for right in of_peer(peer, "X", "").rights)
        rows.append((f"`{name}`", services, granted))
    assert COMMAND_SERVICES
    return ("Right of the peer", "Services", "As a right of the archive"), rows


def level_3() -> Table:
    """What is asked of level 3, by which setting and default it is met, and what is left to who operates."""
    rows: list[tuple[str, ...]] = []
    for asked, setting, operator in _LEVEL_3:
        default = "" if setting is None else f"`{setting}` = {_default(setting)}"
        rows.append((asked, default, operator))
    return ("Asked for", "Setting and its default", "Left to the operator"), rows


def _default(setting: str) -> str:
    model: Any = Settings
    *sections, name = setting.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    value = model.model_fields[name].get_default(call_default_factory=True)
    if value is None or hasattr(value, "model_dump"):
        return "off until it is set"
    return "empty" if value == "" else f"`{value}`"
