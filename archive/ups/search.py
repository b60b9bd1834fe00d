"""Which workitems a query asks for (PS3.18 11.9, PS3.4 CC.2.8.1.4), by the same matching as everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydicom.datadict import keyword_for_tag
from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute

from archive.comparisons import EMPTY, Condition, any_of, between, equals
from archive.errors import InvalidQuery
from archive.json_conditions import json_condition, no_value, sequence_condition
from archive.records import DicomJSON, NameMatching, Nested, Order
from archive.standard import matching
from archive.standard.coding import show, vr_of
from archive.ups import moments
from archive.ups.dataset import key_of
from archive.ups.models import Workitem

RETURNED: Final = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "AdmissionID",
    "AdmittingDiagnosesDescription",
    "CommentsOnTheScheduledProcedureStep",
    "ScheduledProcedureStepStartDateTime",
    "ScheduledProcedureStepModificationDateTime",
    "ExpectedCompletionDateTime",
    "ScheduledWorkitemCodeSequence",
    "InputInformationSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledHumanPerformersSequence",
    "InputReadinessState",
    "ReferencedRequestSequence",
    "ProcedureStepState",
    "ProcedureStepProgressInformationSequence",
    "ScheduledProcedureStepPriority",
    "WorklistLabel",
    "ProcedureStepLabel",
    "ScheduledProcessingParametersSequence",
    "ReplacedProcedureStepSequence",
)
"""Returned without being asked for (return key types 1 and 2 of PS3.4 Table CC.2.5-3)."""
_RETURNED_KEYS: Final = frozenset(map(key_of, RETURNED))
COLUMNS: Final[dict[str, InstrumentedAttribute[Any]]] = {
    "SOPInstanceUID": Workitem.uid,
    "StudyInstanceUID": Workitem.study_instance_uid,
    "ProcedureStepState": Workitem.state,
    "PatientID": Workitem.patient_id,
    "ScheduledProcedureStepStartDateTime": Workitem.scheduled_start,
    "ExpectedCompletionDateTime": Workitem.expected_completion,
    "ScheduledProcedureStepModificationDateTime": Workitem.modified,
}
_UIDS: Final = ("SOPInstanceUID", "StudyInstanceUID")
_UNMATCHED: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


@dataclass(frozen=True, slots=True)
class WorkitemQuery:
    """What is searched for, in the syntax of PS3.4 C.2.2.2; `include` are tags to return beside the default ones."""

    keys: Nested = field(default_factory=Nested)
    include: frozenset[int] | Literal["all"] = frozenset()
    fuzzy: bool = False
    limit: int | None = None
    offset: int = 0
    order: tuple[Order, ...] = ()


def order_of(query: WorkitemQuery) -> list[ColumnElement[Any]]:
    """In order of their start, or of what the query names; a total order always. Raises `InvalidQuery`."""
    made: list[ColumnElement[Any]] = []
    for each in query.order:
        keyword = keyword_for_tag(each.tag) or show(each.tag)
        if keyword not in COLUMNS:
            raise InvalidQuery(f"orderby: not by {keyword}; workitems can be ordered by {', '.join(sorted(COLUMNS))}")
        column = COLUMNS[keyword]
        made.append(column.desc().nulls_last() if each.descending else column.asc().nulls_first())
    return [*(made or [Workitem.scheduled_start.asc()]), Workitem.id.asc()]


def conditions(keys: Nested, *, fuzzy: bool = False) -> list[Condition]:
    """The conditions of all keys that are not universal. Raises `InvalidQuery`."""
    how: NameMatching = "words" if fuzzy else "folded"
    made = []
    for tag, given in keys.keys.items():
        vr, name = vr_of(tag), keyword_for_tag(tag) or show(tag)
        if vr == "SQ" or tag in keys.sequences:
            if not matching.is_universal(given):
                raise InvalidQuery(f"{name} cannot be matched with a value: it is a sequence")
            continue
        value = matching.matching_text(given, name)
        if not matching.has_universal(value, vr):
            made.append(_condition(tag, vr, name, value, how))
    for tag, nested in keys.sequences.items():
        if vr_of(tag) != "SQ":
            raise InvalidQuery(f"{keyword_for_tag(tag) or show(tag)} is no sequence")
        _check_nested(nested)
        made.append(sequence_condition(Workitem.attributes, tag, nested, how))
    return made


def shown(attributes: DicomJSON, query: WorkitemQuery) -> DicomJSON:
    """What a search returns of a workitem: also each attribute that was asked for, without a value if it has none."""
    if query.include == "all":
        return attributes
    asked = {f"{tag:08X}" for tag in {*query.include, *query.keys.keys, *query.keys.sequences}}
    found = {key: element for key, element in attributes.items() if key in _RETURNED_KEYS or key in asked}
    found |= {key: {"vr": vr_of(int(key, 16))} for key in asked - found.keys()}
    return dict(sorted(found.items()))


def to_json(keys: Nested) -> dict[str, Any]:
    """Keys as they are kept with a filtered subscription."""
    return {
        "keys": {f"{tag:08X}": value.replace("\0", "") for tag, value in keys.keys.items()},
        "sequences": {f"{tag:08X}": to_json(nested) for tag, nested in keys.sequences.items()},
    }


def from_json(kept: dict[str, Any]) -> Nested:
    """The other way."""
    return Nested(
        {int(key, 16): value for key, value in kept["keys"].items()},
        {int(key, 16): from_json(nested) for key, nested in kept["sequences"].items()},
    )


def _condition(tag: int, vr: str, name: str, value: str, how: NameMatching) -> Condition:
    column = COLUMNS.get(name)
    if vr in _UNMATCHED:
        raise InvalidQuery(f"{name} cannot be matched")
    if vr == "DT":
        if column is None:
            raise InvalidQuery(f"{name} cannot be matched; of dates with times, {', '.join(_moments())} can")
        if value == EMPTY:
            return column.is_(None)
        return any_of(value, lambda part: between(column, moments.moment_range(part, name)))
    if column is not None and name in _UIDS and value != EMPTY:
        return column.in_(matching.uid_list(value, name))
    if column is not None and not matching.has_wildcard(value) and value != EMPTY:
        return any_of(value, lambda part: equals(column, part.strip()))
    if value == EMPTY:
        return no_value(Workitem.attributes, tag)
    return json_condition(Workitem.attributes, tag, vr, value, how)


def _check_nested(nested: Nested) -> None:
    for tag, value in nested.keys.items():
        name = keyword_for_tag(tag) or show(tag)
        if vr_of(tag) in (*_UNMATCHED, "DT", "SQ") and not matching.is_universal(value):
            raise InvalidQuery(f"{name} cannot be matched within a sequence")
    for inner in nested.sequences.values():
        _check_nested(inner)


def _moments() -> list[str]:
    return [keyword for keyword in COLUMNS if keyword.endswith("DateTime")]
