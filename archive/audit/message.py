"""Records as DICOM audit messages (PS3.15 A.5), which go to an audit record repository by syslog (A.6, A.7).

Which message a record becomes is one table. What the standard has no message for is told as a Security Alert or as
Application Activity with the action as its type, so nothing on record is missing from the copy.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

import orjson

from archive.audit.events import Action, Outcome
from archive.audit.search import AuditEntry
from archive.people.caller import Kind


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value (PS3.16 CID 400 and following)."""

    value: str
    meaning: str
    scheme: str = "DCM"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a record of one action becomes."""

    event: Code
    action: str
    """EventActionCode: Create, Read, Update, Delete, Execute."""
    kind: Code | None = None


_USER: Final = Code("110114", "User Authentication")
_SECURITY: Final = Code("110113", "Security Alert")
_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
_ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
_ACTIVITY: Final = Code("110100", "Application Activity")
SHAPES: Final[dict[Action, Shape]] = {
    Action.SIGN_IN: Shape(_USER, "E", Code("110122", "Login")),
    Action.SIGN_OUT: Shape(_USER, "E", Code("110123", "Logout")),
    Action.SEARCH: Shape(Code("110112", "Query"), "E"),
    Action.VIEW: Shape(_ACCESSED, "R"),
    Action.COPY: Shape(_TRANSFERRED, "R"),
    Action.STORE: Shape(_TRANSFERRED, "C"),
    Action.ORDER: Shape(Code("110109", "Order Record"), "U"),
    Action.REPORT: Shape(Code("110110", "Patient Record"), "U"),
    Action.REJECT: Shape(_ACCESSED, "U"),
    Action.IDENTITY: Shape(_ACCESSED, "U"),
    Action.SHARE: Shape(_SECURITY, "U", Code("110135", "Object Security Attributes Changed")),
    Action.WITHDRAW: Shape(_SECURITY, "U", Code("110135", "Object Security Attributes Changed")),
    Action.BREAK_GLASS: Shape(_SECURITY, "E", Code("110127", "Emergency Override Started")),
    Action.CONSULT: Shape(_SECURITY, "U", Code("110135", "Object Security Attributes Changed")),
    Action.DELIVER: Shape(Code("110106", "Export"), "R"),
    Action.EXPORT: Shape(Code("110106", "Export"), "R"),
    Action.ACCOUNT: Shape(_SECURITY, "U", Code("110137", "User security Attributes Changed")),
    Action.SETTING: Shape(_SECURITY, "U", Code("110131", "Software Configuration")),
    Action.OPERATE: Shape(_ACTIVITY, "E"),
    Action.AUDIT: Shape(Code("110101", "Audit Log Used"), "R"),
}
_STARTED: Final = {"started": Code("110120", "Application Start"), "stopped": Code("110121", "Application Stop")}
_OUTCOMES: Final = {Outcome.SUCCESS: "0", Outcome.FAILED: "4", Outcome.DENIED: "8", Outcome.INTENDED: "0"}
_SOURCE: Final = Code("110153", "Source Role ID")
_DESTINATION: Final = Code("110152", "Destination Role ID")
_APPLICATION: Final = Code("110150", "Application")
_STUDY: Final = Code("110180", "Study Instance UID")
_PATIENT: Final = Code("2", "Patient Number", "RFC-3881")
_LOG: Final = Code("12", "URI", "RFC-3881")
_UNFIT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_SOP_CLASS: Final = Code("110181", "SOP Class UID")


def audit_message(entry: AuditEntry, source: str, site: str = "") -> bytes:
    """The message, as UTF-8 XML. `source` is what reports it: our AE title."""
    action, outcome = Action(entry.action), Outcome(entry.outcome)
    shape = _shape(entry, action)
    root = Element("AuditMessage")
    event = SubElement(root, "EventIdentification")
    event.set("EventActionCode", shape.action)
    event.set("EventDateTime", entry.recorded_at.astimezone(UTC).isoformat(timespec="microseconds"))
    event.set("EventOutcomeIndicator", _OUTCOMES[outcome])
    _coded(event, "EventID", shape.event)
    what = str(entry.detail.get("what", ""))
    for kind in filter(None, (shape.kind, _STARTED.get(what))):
        _coded(event, "EventTypeCode", kind)
    _coded(event, "EventTypeCode", Code(entry.action, what or entry.action, "provincial-pacs"))
    if outcome is not Outcome.SUCCESS:
        SubElement(event, "EventOutcomeDescription").text = _fit(str(entry.detail.get("why") or outcome.value))
    _participants(root, entry, action, source)
    reporter = SubElement(root, "AuditSourceIdentification")
    if site:
        reporter.set("AuditEnterpriseSiteID", site)
    reporter.set("AuditSourceID", source)
    SubElement(reporter, "AuditSourceTypeCode", {"csd-code": "4"})
    _objects(root, entry, action)
    text: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return text


def _shape(entry: AuditEntry, action: Action) -> Shape:
    if action is Action.SIGN_IN and entry.kind == Kind.PEER:
        return Shape(_SECURITY, "E", Code("110126", "Node Authentication"))
    if action is Action.STORE and entry.detail.get("transport") == "import":
        return Shape(Code("110107", "Import"), "C")
    return SHAPES[action]


def _participants(root: Element, entry: AuditEntry, action: Action, source: str) -> None:
    """Who acted, and the archive itself (A.5.3: those who send and receive have roles)."""
    sends = action is Action.STORE
    moves = action in (Action.STORE, Action.COPY, Action.EXPORT, Action.DELIVER, Action.SEARCH)
    role = _SOURCE if sends or action is Action.SEARCH else _DESTINATION
    who = _participant(root, entry.name or entry.kind, requestor=True, address=entry.address)
    if entry.home:
        who.set("AlternativeUserID", ";".join(entry.home))
    if moves:
        _coded(who, "RoleIDCode", role)
    us = _participant(root, source, requestor=False)
    own = _DESTINATION if role is _SOURCE else _SOURCE
    _coded(us, "RoleIDCode", own if moves else _APPLICATION)
    destination = entry.detail.get("destination")
    if destination:
        _coded(_participant(root, str(destination), requestor=False), "RoleIDCode", _DESTINATION)


def _participant(root: Element, name: str, *, requestor: bool, address: str = "") -> Element:
    found = SubElement(root, "ActiveParticipant")
    found.set("UserID", _fit(name))
    found.set("UserIsRequestor", "true" if requestor else "false")
    if address:
        found.set("NetworkAccessPointID", _fit(address))
        found.set("NetworkAccessPointTypeCode", "2")
    return found


def _objects(root: Element, entry: AuditEntry, action: Action) -> None:
    if action is Action.SEARCH:
        query = _object(root, "query", "2", "24", _SOP_CLASS)
        keys = orjson.dumps(entry.detail.get("keys") or entry.detail.get("query") or [])
        SubElement(query, "ParticipantObjectQuery").text = b64encode(keys).decode()
        _details(query, entry)
    if action is Action.AUDIT:
        _details(_named(_object(root, f"audit:{entry.reference}", "2", "13", _LOG), "Security Audit Log"), entry)
    count = entry.detail.get("instances")
    for study in entry.studies:
        found = _named(_object(root, study, "2", "3", _STUDY), study)
        if action is not Action.SEARCH:
            _details(found, entry)
        if isinstance(count, int) and len(entry.studies) == 1:
            described = SubElement(found, "ParticipantObjectDescription")
            classes = entry.detail.get("sop_classes")
            given = {"UID": classes[0]} if isinstance(classes, list) and len(classes) == 1 else {}
            SubElement(described, "SOPClass", {**given, "NumberOfInstances": str(count)})
    if entry.patient_id:
        _named(_object(root, entry.patient_id, "1", "1", _PATIENT), entry.patient_id)
    if not entry.studies and action not in (Action.SEARCH, Action.AUDIT):
        about = _named(
            _object(root, f"record:{entry.reference}", "2", "13", _LOG), str(entry.detail.get("what", "act"))
        )
        _details(about, entry)


def _object(root: Element, identifier: str, kind: str, role: str, code: Code) -> Element:
    found = SubElement(root, "ParticipantObjectIdentification")
    found.set("ParticipantObjectID", _fit(identifier))
    found.set("ParticipantObjectTypeCode", kind)
    found.set("ParticipantObjectTypeCodeRole", role)
    _coded(found, "ParticipantObjectIDTypeCode", code)
    return found


def _named(found: Element, name: str) -> Element:
    SubElement(found, "ParticipantObjectName").text = _fit(name)
    return found


def _details(found: Element, entry: AuditEntry) -> None:
    """What else is on record: the values in Base64, for they may be anything."""
    more = {"record": entry.reference, "purpose": entry.purpose, **entry.detail}
    for name, value in more.items():
        if value not in ("", [], None):
            raw = value.encode() if isinstance(value, str) else orjson.dumps(value)
            SubElement(found, "ParticipantObjectDetail", {"type": _fit(name), "value": b64encode(raw).decode()})


def _coded(parent: Element, name: str, code: Code) -> None:
    values: Iterable[tuple[str, str]] = (
        ("csd-code", code.value),
        ("codeSystemName", code.scheme),
        ("originalText", code.meaning),
    )
    SubElement(parent, name, {key: _fit(value) for key, value in values})


def _fit(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return _UNFIT.sub("\ufffd", text)
