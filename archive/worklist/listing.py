"""Lists of worklist items: for people and programs, and the answers to modalities (PS3.4 K.4.1.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select, true, tuple_

from archive.database import Stop
from archive.errors import TooManyMatches
from archive.models import Facility
from archive.reading import Reader
from archive.records import DicomJSON, Scope
from archive.standard import matching as values
from archive.standard.text import fold
from archive.worklist import matching
from archive.worklist.models import WorklistItem as Item
from archive.worklist.rows import for_station, owned, shown
from config import clock
from config.services import WorklistSettings

PAGE: Final = 200
"""Items that a query has in memory at once."""
_EQUAL: Final = {
    0x0020000D: Item.study_instance_uid,
    0x00080050: Item.accession_number,
    0x00100020: Item.patient_id,
    0x00401001: Item.requested_procedure_id,
}
_PATIENT_NAME: Final = 0x00100010
_EQUAL_IN_STEP: Final = {0x00080060: Item.modality, 0x00400009: Item.scheduled_procedure_step_id}


@dataclass(frozen=True, slots=True)
class ItemSearch:
    """What a list of items is limited to; None and empty mean no limit."""

    first: date | None = None
    last: date | None = None
    statuses: tuple[str, ...] = ()
    modality: str = ""
    station: str = ""
    facility: str = ""
    text: str = ""
    """The beginning of a patient ID or accession number, or of parts of a name without accents and case."""
    patient_id: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    limit: int = 100
    offset: int = 0


def conditions(wanted: ItemSearch) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for column, value in (
        (Item.modality, wanted.modality),
        (Item.patient_id, wanted.patient_id),
        (Item.accession_number, wanted.accession_number),
        (Item.study_instance_uid, wanted.study_instance_uid),
    ):
        if value:
            found.append(column == value)
    if wanted.first is not None:
        found.append(Item.start_date >= wanted.first)
    if wanted.last is not None:
        found.append(Item.start_date <= wanted.last)
    if wanted.statuses:
        found.append(Item.status.in_(wanted.statuses))
    if wanted.station:
        found.append(for_station(wanted.station))
    if wanted.facility:
        found.append(Item.facility_id.in_(select(Facility.id).where(Facility.code == wanted.facility)))
    if wanted.text:
        found.append(_text_condition(wanted.text))
    return found


def _text_condition(text: str) -> ColumnElement[bool]:
    start = values.like_literal(text.strip()) + "%"
    words = [values.like_literal(word) for word in fold(text).split()]
    name = and_(
        true(),
        *(
            or_(*(Item.name_fold.like(f"{before}{word}%", escape="\\") for before in ("", "% ", "%=")))
            for word in words
        ),
    )
    return or_(Item.patient_id.like(start, escape="\\"), Item.accession_number.like(start, escape="\\"), name)


def query(
    reader: Reader,
    settings: WorklistSettings,
    asked: matching.Keys,
    scope: Scope,
    *,
    station: str,
    own_station_only: bool,
    cap: int,
    stop: Stop | None,
) -> Iterator[DicomJSON]:
    """See `archive.worklist.items.Items.query`."""
    statement = _listed(asked, settings).where(owned(scope))
    if own_station_only:
        statement = statement.where(for_station(station))
    given = 0
    for row in _in_order(reader, scope, statement, stop):
        if not matching.matches(asked, shown(row.attributes, row.status)):
            continue
        attributes = shown(row.attributes, row.status, station)
        if given == cap:
            raise TooManyMatches(f"over {cap} worklist items: narrow by date, station or modality")
        given += 1
        yield matching.answer(asked, attributes)


def _in_order(reader: Reader, scope: Scope, statement: Select[Any], stop: Stop | None) -> Iterator[Row[Any]]:
    """All rows, fetched by pages; what is added meanwhile shifts nothing."""
    place = tuple_(Item.start_date, Item.start_time, Item.id)
    statement = statement.order_by(Item.start_date, Item.start_time, Item.id).limit(PAGE)
    page = statement
    while True:
        rows = reader.fetch(scope, page, stop=stop)
        yield from rows
        if len(rows) < PAGE:
            return
        last = rows[-1]
        page = statement.where(place > tuple_(last.start_date, last.start_time, last.id))


def _listed(asked: matching.Keys, settings: WorklistSettings) -> Select[Any]:
    """The rows that can match at all: the keys that have a column, as far as the column decides them alone."""
    statement = select(Item.id, Item.start_date, Item.start_time, Item.status, Item.attributes)
    step = matching.step_keys(asked)
    first, last = matching.period(step) if step is not None else (None, None)
    status = step.keys.get(matching.STATUS, "") if step is not None else ""
    if values.is_universal(status):
        statement = statement.where(Item.status.in_(settings.listed))
        if first is None and settings.list_days:
            first = clock.today() - timedelta(days=settings.list_days)
    if first is not None:
        statement = statement.where(Item.start_date >= first)
    if last is not None:
        statement = statement.where(Item.start_date <= last)
    for keys, columns in ((asked.keys, _EQUAL), (step.keys if step is not None else {}, _EQUAL_IN_STEP)):
        for tag, column in columns.items():
            value = keys.get(tag, "")
            if not values.is_universal(value) and not values.has_wildcard(value):
                wanted = [part.strip() for part in value.split("\\") if part.strip()]
                statement = statement.where(column.in_(wanted))
    name = asked.keys.get(_PATIENT_NAME, "")
    if not values.is_universal(name):
        parts = [fold(part).rstrip(" *") for part in name.split("\\")]
        statement = statement.where(
            or_(*(Item.name_fold.like(f"%{values.like_pattern(part)}%", escape="\\") for part in parts))
        )
    return statement
