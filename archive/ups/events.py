"""Events of workitems, as they are told to subscribers (PS3.4 CC.2.4, Table CC.2.4-1; PS3.18 8.10, 11.13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, literal, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import SmallInteger, Text

from archive.records import DicomJSON
from archive.ups.dataset import items, key_of, values
from archive.ups.models import Event, Subscription
from archive.ups.rules import DISCONTINUED, PROGRESS, READINESS, REASON, STATE

SOP_CLASS: Final = "1.2.840.10008.5.1.4.34.6.4"
"""Unified Procedure Step - Event."""
STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT, SCP_STATUS_CHANGE, ASSIGNED = 1, 2, 3, 4, 5
NAMES: Final = {
    STATE_REPORT: "UPS State Report",
    CANCEL_REQUESTED: "UPS Cancel Requested",
    PROGRESS_REPORT: "UPS Progress Report",
    ASSIGNED: "UPS Assigned",
}
"""Those that are sent, by Event Type ID."""
_STATIONS: Final = key_of("ScheduledStationNameCodeSequence")
_PERFORMERS: Final = key_of("ScheduledHumanPerformersSequence")
_PERFORMER: Final = key_of("HumanPerformerCodeSequence")
_ORGANIZATION: Final = key_of("HumanPerformerOrganization")
_OF_CANCEL: Final = (
    key_of("RequestingAE"),
    REASON,
    DISCONTINUED,
    key_of("ContactURI"),
    key_of("ContactDisplayName"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What happened, with its Event Information."""

    event_type: int
    information: DicomJSON


@dataclass(frozen=True, slots=True)
class Message:
    """An event report for one AE."""

    id: int
    uid: str
    event_type: int
    information: DicomJSON

    def dataset(self) -> dict[str, Any]:
        """As it is sent: the N-EVENT-REPORT command elements and the Event Information."""
        return {
            "00000002": {"vr": "UI", "Value": [SOP_CLASS]},
            "00000110": {"vr": "US", "Value": [self.id % 0xFFFF + 1]},
            "00001000": {"vr": "UI", "Value": [self.uid]},
            "00001002": {"vr": "US", "Value": [self.event_type]},
            **dict(sorted(self.information.items())),
        }


def state_report(attributes: DicomJSON) -> Report:
    """In which state a workitem is, and whether its input is there."""
    found: DicomJSON = {STATE: attributes[STATE], READINESS: attributes[READINESS]}
    for item in items(attributes, PROGRESS):
        found |= {key: item[key] for key in (REASON, DISCONTINUED) if values(item, key)}
    return Report(STATE_REPORT, found)


def cancel_requested(reason: DicomJSON) -> Report:
    """That somebody asks to cancel a workitem, and why."""
    return Report(CANCEL_REQUESTED, {key: reason[key] for key in _OF_CANCEL if values(reason, key)})


def of_creation(after: DicomJSON) -> list[Report]:
    """What a new workitem is reported by (CC.2.4.3)."""
    return [state_report(after), *_assigned({}, after)]


def of_change(before: DicomJSON, after: DicomJSON) -> list[Report]:
    """What an update is reported by (CC.2.4.3)."""
    made = []
    if before.get(READINESS) != after.get(READINESS) or before.get(STATE) != after.get(STATE):
        made.append(state_report(after))
    if values(before, PROGRESS) != values(after, PROGRESS) and values(after, PROGRESS):
        made.append(Report(PROGRESS_REPORT, {PROGRESS: after[PROGRESS]}))
    return [*made, *_assigned(before, after)]


def emit(connection: Connection, workitem_id: int, uid: str, reports: list[Report]) -> None:
    """Put the events into the queues of all who are subscribed to the workitem, in the transaction of what happened."""
    for report in reports:
        told = select(
            Subscription.ae_title,
            literal(uid, Text),
            literal(report.event_type, SmallInteger),
            sql_cast(literal(report.information, JSONB), JSONB),
        ).where(Subscription.workitem_id == workitem_id)
        columns = [Event.ae_title, Event.uid, Event.event_type, Event.information]
        connection.execute(insert(Event).from_select(columns, told))


def _assigned(before: DicomJSON, after: DicomJSON) -> list[Report]:
    if all(values(before, key) == values(after, key) for key in (_STATIONS, _PERFORMERS)):
        return []
    found: DicomJSON = {}
    if values(after, _STATIONS):
        found[_STATIONS] = after[_STATIONS]
    for item in items(after, _PERFORMERS)[:1]:
        found |= {key: item[key] for key in (_PERFORMER, _ORGANIZATION) if values(item, key)}
    return [Report(ASSIGNED, found)]
