"""The statements that write the audit trail. Parameters are psycopg's ``%(name)s``."""

from __future__ import annotations

from typing import Final

from archive.audit.chain import COLUMNS

# Any number that no writer draws, see `archive.migrate`. Segments and anchors are numbered without gaps.
NUMBERING: Final = (1 << 62) + 15_2023

LOCK: Final = "SELECT pg_advisory_xact_lock(%s)"

# What nobody can add to any more: by its writer, who has lost count; by anybody, when the writer is dead.
CLOSE: Final = """
UPDATE audit_segment SET closed_at = clock_timestamp(), last_at = coalesce(last.recorded_at, opened_at),
       records = coalesce(last.sequence, 0), head = coalesce(last.hash, ''::bytea)
  FROM (SELECT open.id, found.* FROM audit_segment AS open LEFT JOIN LATERAL (
            SELECT recorded_at, sequence, hash FROM audit_record WHERE segment_id = open.id
             ORDER BY sequence DESC LIMIT 1) AS found ON true
         WHERE open.closed_at IS NULL AND open.writer = %(writer)s
           AND open.keeping = %(keeping)s) AS last
 WHERE audit_segment.id = last.id AND audit_segment.closed_at IS NULL
"""
# The same by the writer, who knows the head: what the database says of it is not asked.
CLOSE_AT: Final = """
UPDATE audit_segment SET closed_at = clock_timestamp(), last_at = %(last_at)s, records = %(records)s, head = %(head)s
 WHERE id = %(id)s AND closed_at IS NULL
"""
OPEN: Final = """
INSERT INTO audit_segment (id, keeping, writer)
SELECT coalesce(max(id), 0) + 1, %(keeping)s, %(writer)s FROM audit_segment
RETURNING id, opened_at
"""

_TYPES: Final = {
    "recorded_at": "timestamptz",
    "account_id": "bigint",
    "home": "jsonb",
    "studies": "jsonb",
    "owners": "jsonb",
    "detail": "jsonb",
}
_LISTS: Final = ("home", "studies", "owners")
_SELECTED: Final = ", ".join(
    f"ARRAY(SELECT jsonb_array_elements_text({name}))" if name in _LISTS else name for name in COLUMNS
)
# One array for each column: one statement for any number of records. Repeated after a lost connection it adds nothing
# twice: nobody else adds to this segment.
ADD: Final = f"""
INSERT INTO audit_record (segment_id, sequence, hash, {", ".join(COLUMNS)})
SELECT segment_id, sequence, hash, {_SELECTED}
  FROM unnest(%(segment_id)s::bigint[], %(sequence)s::bigint[], %(hash)s::bytea[],
       {", ".join(f"%({name})s::{_TYPES.get(name, 'text')}[]" for name in COLUMNS)})
    AS given (segment_id, sequence, hash, {", ".join(COLUMNS)})
ON CONFLICT (segment_id, sequence) DO NOTHING
"""
COUNT_SAME: Final = """
SELECT count(*) FROM audit_record JOIN unnest(%(segment_id)s::bigint[], %(sequence)s::bigint[], %(hash)s::bytea[])
    AS given (segment_id, sequence, hash) USING (segment_id, sequence, hash)
"""

OWNERS: Final = """
SELECT study_instance_uid, facility.code, patient.patient_id, patient.issuer
  FROM study JOIN facility ON facility.id = facility_id JOIN patient ON patient.id = study.patient_id
 WHERE study_instance_uid = ANY(%(studies)s)
 ORDER BY quarantine <> ''
"""
