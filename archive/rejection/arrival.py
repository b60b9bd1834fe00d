"""What notes say of instances that arrive."""

from __future__ import annotations

from collections.abc import Mapping

from archive.index_session import Connection
from archive.records import Arrival
from archive.rejection import sql
from archive.rejection.causes import Hidden


def hidden_on_arrival(connection: Connection, arrivals: Mapping[int, Arrival]) -> dict[int, Hidden]:
    """Why arrivals, by number, are to be hidden from the start; those that are not are left out.

    Not within a transaction: it may have to wait for a note that is being applied.
    """
    if not arrivals:
        return {}
    rows = _ask(connection, arrivals)
    if any(waiting for _, _, waiting in rows):
        connection.execute("SELECT pg_advisory_lock_shared(%s)", (sql.LOCK,))
        connection.execute("SELECT pg_advisory_unlock_shared(%s)", (sql.LOCK,))
        rows = _ask(connection, arrivals)
    return {n: Hidden(causes) for n, causes, _ in rows if causes}


def _ask(connection: Connection, arrivals: Mapping[int, Arrival]) -> list[tuple[int, int, bool]]:
    parameters = {
        "n": list(arrivals),
        "study": [arrival.study_instance_uid for arrival in arrivals.values()],
        "series": [arrival.series_instance_uid for arrival in arrivals.values()],
        "instance": [arrival.instance.sop_instance_uid for arrival in arrivals.values()],
    }
    return connection.execute(sql.HIDDEN_ON_ARRIVAL, parameters).fetchall()
