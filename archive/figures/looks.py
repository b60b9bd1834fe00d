"""Finds looks at studies of other facilities in the audit trail.

Records of a segment are numbered in the order of their commits, so none can appear behind how far a segment was read.
A caller of several facilities counts for the first of them by code; who belongs to none (the health department, an
operator, a patient's link) is no facility that looks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from archive.figures.fact import local
from archive.index_session import Connection

MOST: Final = 2000
"""Records of one segment that a step looks at."""
_SEGMENTS: Final = """
SELECT segment.id, coalesce(done.sequence, 0) FROM audit_segment AS segment
  LEFT JOIN figure_segment AS done ON done.segment_id = segment.id
 WHERE segment.keeping = 'access' AND segment.expired_at IS NULL
   AND (segment.closed_at IS NULL OR coalesce(done.sequence, 0) < segment.records)
   AND EXISTS (SELECT FROM audit_record
                WHERE audit_record.segment_id = segment.id AND audit_record.sequence > coalesce(done.sequence, 0))
 ORDER BY segment.id LIMIT 10
"""
# The end of a look is told by a second record, which is no second look.
_RECORDS: Final = """
WITH read AS (
    SELECT sequence, recorded_at, action, outcome, kind, home, studies, detail FROM audit_record
     WHERE segment_id = %(segment)s AND sequence > %(after)s ORDER BY sequence LIMIT %(most)s
)
SELECT (SELECT max(sequence) FROM read), (SELECT count(*) FROM read), looked.* FROM (SELECT) AS once
  LEFT JOIN LATERAL (
      SELECT sequence, recorded_at, study.id, looking.id AS facility
        FROM read CROSS JOIN LATERAL unnest(studies) AS seen (uid)
        JOIN study ON study_instance_uid = uid AND quarantine = ''
        JOIN facility AS owner ON owner.id = study.facility_id
        JOIN facility AS looking ON looking.code = (SELECT min(code) FROM unnest(home) AS each (code))
       WHERE action IN ('view', 'copy') AND outcome = 'success' AND kind IN ('account', 'service', 'peer')
         AND coalesce(detail ->> 'phase', '') <> 'end' AND owner.code <> ALL(home)
  ) AS looked ON true
 ORDER BY sequence
"""
_ADD: Final = """
INSERT INTO study_look (segment_id, sequence, study_id, facility_id, looked_at)
SELECT %(segment)s, * FROM unnest(%(sequences)s::bigint[], %(studies)s::bigint[], %(facilities)s::bigint[],
                                  %(times)s::timestamp[])
ON CONFLICT DO NOTHING
"""
_DONE: Final = """
INSERT INTO figure_segment (segment_id, sequence) VALUES (%(segment)s, %(sequence)s)
ON CONFLICT (segment_id) DO UPDATE SET sequence = EXCLUDED.sequence
"""


class Looked(NamedTuple):
    """What was found."""

    studies: list[int]
    behind: bool


def follow_looks(connection: Connection) -> Looked:
    """Note new looks; give the studies that were looked at. They count when these are refreshed."""
    studies: set[int] = set()
    behind = False
    for segment, after in connection.execute(_SEGMENTS).fetchall():
        rows = connection.execute(_RECORDS, {"segment": segment, "after": after, "most": MOST}).fetchall()
        reached, count = rows[0][:2]
        found = [row[2:] for row in rows if row[2] is not None]
        if found:
            _add(connection, segment, found)
            studies.update(study for _, _, study, _ in found)
        connection.execute(_DONE, {"segment": segment, "sequence": reached})
        behind = behind or count == MOST
    return Looked(sorted(studies), behind)


def _add(connection: Connection, segment: int, found: list[tuple[int, datetime, int, int]]) -> None:
    sequences, times, studies, facilities = zip(*found, strict=True)
    given = {
        "segment": segment,
        "sequences": list(sequences),
        "studies": list(studies),
        "facilities": list(facilities),
        "times": [local(moment) for moment in times],
    }
    connection.execute(_ADD, given)
