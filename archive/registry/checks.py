"""Connection tests: somebody asks for a C-ECHO to a peer, a DICOM node does it, and the result waits to be read.

Any node of the archive takes the next one. It holds it by a lease: if it dies, another does it once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Engine, Row, text

from archive.database import change, fetch
from archive.errors import NotFound

LEASE: Final = 120.0
"""Seconds; far longer than a node waits for a peer."""
WORTH: Final = 300.0
"""Seconds after which nobody waits for the result any more."""

# One at a time for each peer: who asks again meanwhile gets the same.
_ASK: Final = text("""
WITH gone AS (
    DELETE FROM peer_test WHERE asked_at < now() - interval '1 day'
), open AS (
    SELECT id FROM peer_test
     WHERE ae_title = :ae_title AND done_at IS NULL AND asked_at > now() - make_interval(secs => :worth)
     ORDER BY id LIMIT 1
), new AS (
    INSERT INTO peer_test (ae_title, asked_by) SELECT :ae_title, :by WHERE NOT EXISTS (SELECT FROM open) RETURNING id
)
SELECT id FROM open UNION ALL SELECT id FROM new
""")
_CLAIM: Final = text("""
UPDATE peer_test SET leased_until = clock_timestamp() + make_interval(secs => :lease)
 WHERE id = (SELECT id FROM peer_test
              WHERE done_at IS NULL AND asked_at > now() - make_interval(secs => :worth)
                AND (leased_until IS NULL OR leased_until < clock_timestamp())
              ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, ae_title
""")
_DONE: Final = text("""
UPDATE peer_test SET done_at = clock_timestamp(), outcome = :outcome, detail = left(:detail, 500),
       milliseconds = :milliseconds
 WHERE id = :id AND done_at IS NULL
""")
_ONE: Final = text("SELECT * FROM peer_test WHERE id = :id")
_LAST: Final = text(
    "SELECT DISTINCT ON (ae_title) * FROM peer_test WHERE done_at IS NOT NULL ORDER BY ae_title, id DESC"
)


class Outcome(StrEnum):
    """How a test came out."""

    OK = "ok"
    REFUSED = "refused"
    """Nothing listens at that port."""
    UNREACHABLE = "unreachable"
    """No way there, or no answer to the connection: wrong address, firewall, switched off."""
    NO_SUCH_HOST = "no_such_host"
    CALLED_UNKNOWN = "called_unknown"
    """Something answers that has another AE title."""
    CALLING_UNKNOWN = "calling_unknown"
    """It does not know our AE title."""
    REJECTED = "rejected"
    """For another reason, which `detail` names."""
    TLS = "tls"
    SILENT = "silent"
    """It takes the connection and says nothing."""
    NOT_DICOM = "not_dicom"
    """It says something else than DICOM, or hangs up."""
    NO_VERIFICATION = "no_verification"
    """It takes the association and not the Verification SOP Class: it is there."""
    FAILED = "failed"
    """It answered the C-ECHO with another status than Success."""
    NO_PLACE = "no_place"
    """It has no host and port, or is not in force (any more)."""


@dataclass(frozen=True, slots=True)
class Check:
    """A test, and its result once `done_at` is set."""

    id: int
    ae_title: str
    asked_at: datetime
    asked_by: str
    done_at: datetime | None
    outcome: Outcome | None
    detail: str
    milliseconds: int | None
    """From the first packet to the answer to the C-ECHO."""


class Checks:
    """Used by all threads of a process. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, ae_title: str, by: str) -> int:
        """Have this peer tested; give the number of the test. Rights are for the caller to ask."""
        return int(change(self._engine, _ASK, {"ae_title": ae_title, "by": by, "worth": WORTH})[0].id)

    def one(self, number: int) -> Check:
        """A test. Raises `NotFound`."""
        rows = fetch(self._engine, _ONE, {"id": number})
        if not rows:
            raise NotFound("no such test")
        return _check(rows[0])

    def last(self) -> dict[str, Check]:
        """The last result of each peer within a day, by AE title."""
        return {row.ae_title: _check(row) for row in fetch(self._engine, _LAST)}

    def claim(self) -> tuple[int, str] | None:
        """The next test to be done, and the AE title of its peer; None if there is none."""
        rows = change(self._engine, _CLAIM, {"lease": LEASE, "worth": WORTH})
        return (rows[0].id, rows[0].ae_title) if rows else None

    def done(self, number: int, outcome: Outcome, detail: str = "", milliseconds: int | None = None) -> None:
        """Keep the result; the first one holds."""
        given = {"id": number, "outcome": outcome.value, "detail": detail, "milliseconds": milliseconds}
        change(self._engine, _DONE, given)


def _check(row: Row[Any]) -> Check:
    outcome = Outcome(row.outcome) if row.outcome else None
    return Check(row.id, row.ae_title, row.asked_at, row.asked_by, row.done_at, outcome, row.detail, row.milliseconds)
