"""The rows that instances hang from: patients, studies, series and facilities, and which of them are known by now.

Parents are inserted with ``ON CONFLICT DO NOTHING`` under unique constraints and read back by natural key, so
concurrent first objects of a patient, study or series make one row each.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from archive import index_sql as sql
from archive.errors import IndexUnavailable
from archive.index_parameters import parent_parameters
from archive.index_session import Connection
from archive.records import Arrival
from config.logs import fields

log = logging.getLogger(__name__)

CACHED_SERIES = 10_000
OTHER_PATIENT = "the study was first received for another patient"

SeriesKey = tuple[str, str, str, str, str]
"""Issuer, patient identity, StudyInstanceUID, SeriesInstanceUID, name of the quarantine."""


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """What the row of an instance says of its series and study."""

    series_id: int
    warning: str | None
    epoch: int
    named: bool
    """Whether a rejection note names instances of the study."""


class ParentRows:
    """Finds and makes parents. Used under the lock of the session whose connection it is given."""

    def __init__(self) -> None:
        self._series: OrderedDict[SeriesKey, KnownSeries] = OrderedDict()
        self._facilities: dict[str, int] = {}

    def has(self, arrival: Arrival) -> bool:
        """Whether the series is known. Asked without the lock, so it may be forgotten a moment later."""
        return series_key(arrival) in self._series

    def at_hand(self, arrivals: Sequence[Arrival]) -> tuple[list[KnownSeries], list[int]] | None:
        """As `series` and `facility`, unless PostgreSQL would have to be asked for one of them."""
        keys = [series_key(arrival) for arrival in arrivals]
        codes = [arrival.source.facility for arrival in arrivals]
        if any(key not in self._series for key in keys) or any(code not in self._facilities for code in codes):
            return None
        return self._recalled(keys), [self._facilities[code] for code in codes]

    def forget(self, arrivals: Iterable[Arrival]) -> None:
        """Look these series up anew."""
        for arrival in arrivals:
            self._series.pop(series_key(arrival), None)

    def forget_all(self) -> None:
        """Look everything up anew."""
        self._series.clear()
        self._facilities.clear()

    def series(self, connection: Connection, arrivals: Sequence[Arrival]) -> list[KnownSeries]:
        """The series of each arrival, made if it is not there. Raises `IndexUnavailable`."""
        keys = [series_key(arrival) for arrival in arrivals]
        missing = {key: arrival for key, arrival in zip(keys, arrivals, strict=True) if key not in self._series}
        if missing:
            # In one order everywhere, so that two processes cannot wait for each other.
            for key in sorted(missing):
                self._series[key] = self._add_parents(connection, missing[key])
        known = self._recalled(keys)
        while len(self._series) > CACHED_SERIES:
            self._series.popitem(last=False)
        return known

    def _recalled(self, keys: Sequence[SeriesKey]) -> list[KnownSeries]:
        known = []
        for key in keys:
            self._series.move_to_end(key)
            known.append(self._series[key])
        return known

    def _add_parents(self, connection: Connection, arrival: Arrival) -> KnownSeries:
        parents = arrival.parents()
        facility = self.facility(connection, arrival.source.facility)
        parameters = parent_parameters(parents, arrival.source.quarantine, facility)
        with connection.transaction():
            connection.execute(sql.INSERT_PATIENT, parameters)
            connection.execute(sql.FILL_PATIENT, parameters)
            connection.execute(sql.INSERT_STUDY, parameters)
            connection.execute(sql.FILL_STUDY, parameters)
            connection.execute(sql.INSERT_SERIES, parameters)
        # After the commit: whoever registers a note that is not seen here will see the study.
        row = connection.execute(sql.FIND_SERIES, parameters).fetchone()
        if row is None:
            raise IndexUnavailable("the study was removed while an object of it arrived; send it again")
        series_id, issuer, identity, epoch, named = row
        same_patient = (issuer, identity) == (arrival.issuer, arrival.patient_identity)
        if not same_patient:
            log.warning(OTHER_PATIENT, extra=fields(study=arrival.study_instance_uid))
        return KnownSeries(series_id, None if same_patient else OTHER_PATIENT, epoch, named)

    def facility(self, connection: Connection, code: str) -> int:
        """The row of a facility, made if it is not there."""
        if code not in self._facilities:
            connection.execute(sql.INSERT_FACILITY, {"code": code})
            row = connection.execute(sql.FIND_FACILITY, {"code": code}).fetchone()
            assert row is not None
            self._facilities[code] = row[0]
        return self._facilities[code]


def series_key(arrival: Arrival) -> SeriesKey:
    """What tells series apart: that two patients share one is told by its `KnownSeries.warning`."""
    study, series = arrival.study_instance_uid, arrival.series_instance_uid
    return arrival.issuer, arrival.patient_identity, study, series, arrival.source.quarantine
