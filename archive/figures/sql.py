"""The statements that read what figures are made of, and that keep facts. Parameters are psycopg's ``%(name)s``."""

from __future__ import annotations

from typing import Final

from archive.figures.fact import DOCUMENTS, Fact
from archive.figures.models import StudyFact

_DOCUMENTS: Final = ", ".join(f"'{name}'" for name in DOCUMENTS)

STAMP: Final = """
hashtextextended(concat_ws(chr(10), patient.patient_id, patient.name, patient.birth_date, patient.sex), 0)
"""
# A report that was cancelled is none. What an image tells of after it was read was no part of the time to read it.
RAW: Final = f"""
SELECT study.id, study.facility_id, study_date, study_time, study.accession_number, study_description,
       instance_count, byte_count, patient.id, {STAMP}, coalesce(person_id, -patient.id),
       patient.patient_id, patient.name, patient.birth_date, patient.sex,
       coalesce((SELECT json_agg(json_build_array(modality, body_part_examined, series_description,
                                                  series.instance_count) ORDER BY series.id)
                   FROM series WHERE study_id = study.id AND series.instance_count > 0), '[]'::json),
       objects.*, orders.ordered_at, final_at, coalesce(reports.facility_id <> study.facility_id, false),
       coalesce((SELECT array_agg(DISTINCT mode) FROM delivery WHERE study_id = study.id), '{{}}')
  FROM study JOIN patient ON patient.id = study.patient_id
  LEFT JOIN patient_person ON patient_person.patient_id = patient.id
  LEFT JOIN LATERAL (
      SELECT final_at, facility_id FROM report
       WHERE study_id = study.id AND status <> 'cancelled' AND final_at IS NOT NULL ORDER BY final_at, id LIMIT 1
  ) AS reports ON true
  CROSS JOIN LATERAL (
      SELECT min(received_at) AS first_at,
             coalesce(max(received_at) FILTER (WHERE version = 1 AND modality NOT IN ({_DOCUMENTS})), max(received_at)),
             coalesce(max(received_at) FILTER (WHERE version = 1 AND modality NOT IN ({_DOCUMENTS})
                                                 AND received_at <= final_at),
                      max(received_at) FILTER (WHERE received_at <= final_at)),
             bool_or(current AND warnings IS NOT NULL),
             bool_or(current AND coalesce(corrections ? 'character_set', false)),
             bool_or(version > 1)
        FROM series JOIN instance ON instance.series_id = series.id
        JOIN stored_object ON stored_object.instance_id = instance.id
       WHERE series.study_id = study.id AND hidden = 0
  ) AS objects
  LEFT JOIN LATERAL (
      SELECT min(created_at) AS ordered_at FROM worklist_item AS item
       WHERE item.status <> 'CANCELLED'
         AND (item.study_instance_uid = study.study_instance_uid
              OR item.accession_number = study.accession_number AND study.accession_number <> ''
                 AND item.facility_id = study.facility_id AND item.patient_id = patient.patient_id)
  ) AS orders ON true
 WHERE study.id = ANY(%(studies)s) AND quarantine = '' AND instance_count > 0 AND first_at IS NOT NULL
"""
# Study by study: all objects of an archive are too many to be read for those of some studies. What the archive writes
# itself, such as objects of reports, tells nothing of who it is kept for.
SOURCES: Final = f"""
INSERT INTO figure_source AS known (facility_id, calling_ae_title, received_at)
SELECT facility_id, calling_ae_title, max(received_at) FROM unnest(%(studies)s::bigint[]) AS wanted (id)
 CROSS JOIN LATERAL (
     SELECT stored_object.facility_id, calling_ae_title, received_at
       FROM series JOIN instance ON instance.series_id = series.id
       JOIN stored_object ON stored_object.instance_id = instance.id
      WHERE series.study_id = wanted.id AND NOT (transport = 'import' AND modality IN ({_DOCUMENTS})) OFFSET 0
 ) AS objects GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (facility_id, calling_ae_title) DO UPDATE SET received_at = EXCLUDED.received_at
 WHERE known.received_at < EXCLUDED.received_at
"""
# Who is somebody else than when their studies were counted.
OTHERWISE: Final = f"""
INSERT INTO figure_dirty (what, key)
SELECT 'study', study_id FROM study_fact JOIN patient ON patient.id = study_fact.patient_id
 WHERE study_fact.patient_id = ANY(%(patients)s) AND study_id <> ALL(%(studies)s) AND patient_stamp <> {STAMP}
"""

FACTS: Final = f"SELECT {', '.join(Fact._fields)} FROM study_fact WHERE study_id = ANY(%(studies)s)"
# Windows are where a study of a person changed: what can be a repetition of it, and what it can repeat.
NEIGHBOURS: Final = f"""
SELECT {", ".join(Fact._fields)} FROM study_fact
 WHERE study_id IN (
     SELECT study_id FROM unnest(%(person)s::bigint[], %(first)s::timestamp[], %(last)s::timestamp[])
            AS around (person, first, last)
       JOIN study_fact ON person_id = person AND studied_at BETWEEN first AND last)
"""
_TYPES: Final = {column.name: column.type.compile() for column in StudyFact.__table__.columns}
_SET: Final = ", ".join(f"{name} = EXCLUDED.{name}" for name in Fact._fields[1:])
KEEP: Final = f"""
INSERT INTO study_fact ({", ".join(Fact._fields)})
SELECT * FROM unnest({", ".join(f"%({name})s::{_TYPES[name].split(' COLLATE')[0]}[]" for name in Fact._fields)})
ON CONFLICT (study_id) DO UPDATE SET {_SET}
"""
DROP: Final = "DELETE FROM study_fact WHERE study_id = ANY(%(studies)s)"

LOOKS: Final = """
SELECT segment_id, sequence, study_id, facility_id, looked_at, avoided, counted FROM study_look
 WHERE study_id = ANY(%(studies)s) ORDER BY looked_at, segment_id, sequence
"""
AVOIDED: Final = """
UPDATE study_look SET avoided = given.avoided, counted = true
  FROM unnest(%(segment)s::bigint[], %(sequence)s::bigint[], %(study)s::bigint[], %(avoided)s::boolean[])
       AS given (segment, sequence, study, avoided)
 WHERE segment_id = segment AND study_look.sequence = given.sequence AND study_id = study
"""

BEGIN: Final = """
INSERT INTO figure_cursor (id, position, sweep) SELECT 1, last, 0 FROM feed_cursor ON CONFLICT DO NOTHING
"""
CURSOR: Final = "SELECT position, sweep, swept_at FROM figure_cursor FOR UPDATE SKIP LOCKED"
MOVE: Final = "UPDATE figure_cursor SET position = %(position)s"
REVISED: Final = "UPDATE figure_cursor SET revision = revision + 1"
SWEEP: Final = "UPDATE figure_cursor SET sweep = 0 WHERE sweep IS NULL OR sweep > 0"
SWEPT: Final = """
UPDATE figure_cursor SET sweep = %(sweep)s::bigint,
       swept_at = CASE WHEN %(sweep)s::bigint IS NULL THEN now() ELSE swept_at END
"""
FORGOTTEN: Final = "SELECT forgotten FROM feed_cursor"
# That a study gathers is told by each object, that it is complete by one more change: in between, the first counts.
CHANGES: Final = """
WITH seen AS (
    SELECT sequence, kind, study_id FROM change WHERE sequence > %(position)s ORDER BY sequence LIMIT %(most)s)
SELECT coalesce(max(sequence), %(position)s), count(*),
       coalesce(array_agg(DISTINCT study_id) FILTER (WHERE kind <> 'stored' OR NOT EXISTS (
           SELECT FROM study_fact WHERE study_fact.study_id = seen.study_id)), '{}')
  FROM seen
"""
DUE: Final = """
WITH due AS (
    DELETE FROM figure_dirty WHERE id IN (
        SELECT id FROM figure_dirty WHERE due_at <= %(now)s ORDER BY due_at, id LIMIT %(most)s)
    RETURNING what, key
), found AS (
    SELECT key AS id FROM due WHERE what = 'study'
    UNION SELECT study.id FROM due JOIN study ON study.patient_id = key WHERE what = 'patient'
    UNION SELECT study.id FROM due JOIN worklist_item AS item ON item.id = key
            JOIN study ON study.study_instance_uid = item.study_instance_uid WHERE what = 'item'
    UNION SELECT study.id FROM due JOIN worklist_item AS item ON item.id = key
            JOIN study ON study.accession_number = item.accession_number AND study.facility_id = item.facility_id
           WHERE what = 'item' AND item.accession_number <> ''
)
SELECT (SELECT count(*) FROM due), coalesce((SELECT array_agg(id ORDER BY id) FROM found), '{}')
"""
# Each half by its own primary key.
NEXT_STUDIES: Final = """
SELECT id FROM ((SELECT id FROM study WHERE id > %(after)s ORDER BY id LIMIT %(most)s)
                UNION
                (SELECT study_id FROM study_fact WHERE study_id > %(after)s ORDER BY study_id LIMIT %(most)s)) AS each
 ORDER BY id LIMIT %(most)s
"""
NOTE_DUE: Final = """
INSERT INTO figure_dirty (what, key, due_at) SELECT 'study', study, due
  FROM unnest(%(studies)s::bigint[], %(due)s::timestamptz[]) AS given (study, due)
"""
