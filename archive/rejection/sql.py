"""The statements that keep notes and what they hide. Parameters are psycopg's ``%(name)s``."""

from __future__ import annotations

from typing import Final

from archive.feed import sql as feed
from archive.rejection.causes import NOTES, Hidden

LOCK: Final = (1 << 62) + 54_2018
"""The advisory lock of whoever changes what is rejected. No writer of the index draws this number."""

_HOLDS: Final = "(note.anywhere OR note.facility_id = study.facility_id)"
_OWN: Final = (
    f"CASE WHEN note.active AND note.cause = {Hidden.QUALITY:d} THEN {Hidden.QUALITY_NOTE:d} ELSE {Hidden.NOTE:d} END"
)

# For instances that arrive. What a note that is not applied yet says is not known yet: `waiting`.
HIDDEN_ON_ARRIVAL: Final = f"""
SELECT given.n, coalesce(bit_or(note.cause) FILTER (WHERE note.active AND {_HOLDS}), 0),
       bool_or(NOT note.applied)
  FROM unnest(%(n)s::int[], %(study)s::text[], %(series)s::text[], %(instance)s::text[])
       AS given (n, study, series, instance)
  JOIN rejection_reference AS reference ON reference.sop_instance_uid = given.instance
       AND reference.study_instance_uid = given.study AND reference.series_instance_uid = given.series
       AND NOT reference.stale
  JOIN rejection_note AS note ON note.id = reference.note_id
  JOIN study ON study.study_instance_uid = given.study AND study.quarantine = ''
 GROUP BY given.n
"""

FIND_NOTE: Final = """
SELECT note.object_id
  FROM study JOIN series ON series.study_id = study.id JOIN instance ON instance.series_id = series.id
  JOIN rejection_note AS note ON note.instance_id = instance.id
 WHERE study.study_instance_uid = %(study)s AND quarantine = '' AND series.series_instance_uid = %(series)s
   AND instance.sop_instance_uid = %(instance)s
"""

# The row of the note, for the version that is shown now and was read: the one with this digest.
REGISTER: Final = """
INSERT INTO rejection_note (instance_id, object_id, study_instance_uid, series_instance_uid, sop_instance_uid,
                            facility_id, anywhere, permitted, code, cause, description, received_at)
SELECT instance.id, stored_object.id, study.study_instance_uid, series.series_instance_uid, instance.sop_instance_uid,
       stored_object.facility_id, %(anywhere)s, %(permitted)s, %(code)s, %(cause)s, %(description)s,
       stored_object.received_at
  FROM study JOIN series ON series.study_id = study.id JOIN instance ON instance.series_id = series.id
  JOIN stored_object ON stored_object.instance_id = instance.id AND stored_object.current
 WHERE study.study_instance_uid = %(study)s AND study.quarantine = '' AND series.series_instance_uid = %(series)s
   AND instance.sop_instance_uid = %(instance)s AND stored_object.digest = %(digest)s
ON CONFLICT (instance_id) DO UPDATE
   SET object_id = EXCLUDED.object_id, facility_id = EXCLUDED.facility_id, anywhere = EXCLUDED.anywhere,
       permitted = EXCLUDED.permitted, code = EXCLUDED.code, cause = EXCLUDED.cause,
       description = EXCLUDED.description, received_at = EXCLUDED.received_at, applied = false
RETURNING id, object_id
"""
# What a former version named and this one does not is shown again when the note is applied: until then it is known.
RETIRE_REFERENCES: Final = "UPDATE rejection_reference SET stale = true WHERE note_id = %(note)s"
REFER: Final = """
INSERT INTO rejection_reference (note_id, study_instance_uid, series_instance_uid, sop_instance_uid)
SELECT %(note)s, * FROM unnest(%(studies)s::text[], %(series)s::text[], %(instances)s::text[])
ON CONFLICT (note_id, study_instance_uid, series_instance_uid, sop_instance_uid) DO UPDATE SET stale = false
"""
FORGET_REFERENCES: Final = "DELETE FROM rejection_reference WHERE stale AND note_id = ANY(%(notes)s)"

WAITING: Final = "SELECT id FROM rejection_note WHERE NOT applied ORDER BY id"

# Which notes reject which, around some of them.
EDGES: Final = f"""
SELECT note.id, target.id, bool_and(reference.stale)
  FROM rejection_note AS note
  JOIN rejection_reference AS reference ON reference.note_id = note.id
  JOIN rejection_note AS target ON target.sop_instance_uid = reference.sop_instance_uid
       AND target.study_instance_uid = reference.study_instance_uid
       AND target.series_instance_uid = reference.series_instance_uid
  JOIN study ON study.study_instance_uid = target.study_instance_uid AND study.quarantine = ''
 WHERE (note.id = ANY(%(notes)s) OR target.id = ANY(%(notes)s)) AND {_HOLDS}
 GROUP BY note.id, target.id
"""
# A note that is not permitted rejects nothing, and neither does one that is none any more.
NOTES_OF: Final = "SELECT id, permitted AND cause <> 0, active FROM rejection_note WHERE id = ANY(%(notes)s)"
ACTIVATE: Final = "UPDATE rejection_note SET active = id = ANY(%(active)s) WHERE id = ANY(%(notes)s)"

# Found by the references of notes, those of former versions among them, and the notes themselves.
TARGETS: Final = """
SELECT instance.id, study.id
  FROM unnest(%(studies)s::text[], %(series)s::text[], %(instances)s::text[]) AS named (study, series, instance)
  JOIN study ON study.study_instance_uid = named.study AND study.quarantine = ''
  JOIN series ON series.study_id = study.id AND series.series_instance_uid = named.series
  JOIN instance ON instance.series_id = series.id AND instance.sop_instance_uid = named.instance
"""
REFERENCES: Final = """
SELECT study_instance_uid, series_instance_uid, sop_instance_uid FROM rejection_reference WHERE note_id = ANY(%(notes)s)
UNION
SELECT study_instance_uid, series_instance_uid, sop_instance_uid FROM rejection_note WHERE id = ANY(%(notes)s)
"""
STUDIES: Final = "SELECT id FROM study WHERE study_instance_uid = ANY(%(studies)s) AND quarantine = ''"

# In the order in which those who store take them: the instance, its series, its study.
LOCK_INSTANCES: Final = "SELECT FROM instance WHERE id = ANY(%(instances)s) ORDER BY id FOR NO KEY UPDATE"
LOCK_SERIES: Final = "SELECT FROM series WHERE study_id = ANY(%(studies)s) ORDER BY id FOR NO KEY UPDATE"
LOCK_STUDIES: Final = "SELECT FROM study WHERE id = ANY(%(studies)s) ORDER BY id FOR NO KEY UPDATE"

HIDE: Final = f"""
WITH wanted AS (
    SELECT instance.id, instance.hidden AS before,
           coalesce(rejected.causes, 0) | CASE WHEN note.id IS NULL THEN instance.hidden & {NOTES:d}
               WHEN note.cause = 0 THEN 0 ELSE {_OWN} END AS causes
      FROM instance JOIN series ON series.id = instance.series_id
      JOIN study AS home ON home.id = series.study_id
      LEFT JOIN rejection_note AS note ON note.instance_id = instance.id
      LEFT JOIN LATERAL (
          SELECT bit_or(note.cause) AS causes
            FROM rejection_reference AS reference JOIN rejection_note AS note ON note.id = reference.note_id
            JOIN study ON study.id = home.id
           WHERE reference.sop_instance_uid = instance.sop_instance_uid AND NOT reference.stale
             AND reference.study_instance_uid = home.study_instance_uid
             AND reference.series_instance_uid = series.series_instance_uid AND note.active AND {_HOLDS}
      ) AS rejected ON true
     WHERE instance.id = ANY(%(instances)s)
), changed AS (
    UPDATE instance SET hidden = causes FROM wanted WHERE instance.id = wanted.id AND hidden <> causes
    RETURNING instance.id, before, causes
)
{feed.NOTE}
SELECT 'visibility', changed.id, stored_object.id, before, causes
  FROM changed JOIN stored_object ON instance_id = changed.id AND current WHERE {feed.IF_FOLLOWED}
"""

RECOUNT_SERIES: Final = """
UPDATE series SET instance_count = counted.shown, hidden_count = counted.hidden
  FROM (SELECT series.id, count(*) FILTER (WHERE hidden = 0) AS shown, count(*) FILTER (WHERE hidden <> 0) AS hidden
          FROM series LEFT JOIN instance ON instance.series_id = series.id
         WHERE series.study_id = ANY(%(studies)s) GROUP BY series.id) AS counted
 WHERE series.id = counted.id AND (instance_count, hidden_count) <> (counted.shown, counted.hidden)
"""
RECOUNT_STUDIES: Final = """
UPDATE study
   SET instance_count = counted.shown, hidden_count = counted.hidden, series_count = counted.series,
       byte_count = counted.bytes, modalities_in_study = counted.modalities, sop_classes_in_study = counted.classes,
       rejection_epoch = rejection_epoch + 1, updated_at = clock_timestamp()
  FROM (SELECT study.id, count(*) FILTER (WHERE hidden = 0) AS shown, count(*) FILTER (WHERE hidden <> 0) AS hidden,
               count(DISTINCT series.id) FILTER (WHERE hidden = 0) AS series,
               coalesce(sum(size) FILTER (WHERE hidden = 0), 0) AS bytes,
               coalesce(array_agg(DISTINCT modality ORDER BY modality)
                        FILTER (WHERE hidden = 0 AND modality <> ''), '{}') AS modalities,
               coalesce(array_agg(DISTINCT sop_class_uid ORDER BY sop_class_uid)
                        FILTER (WHERE hidden = 0), '{}') AS classes
          FROM study LEFT JOIN (series JOIN instance ON instance.series_id = series.id
                                JOIN stored_object ON stored_object.instance_id = instance.id AND current)
               ON series.study_id = study.id
         WHERE study.id = ANY(%(studies)s) GROUP BY study.id) AS counted
 WHERE study.id = counted.id
"""
APPLIED: Final = "UPDATE rejection_note SET applied = true WHERE id = ANY(%(notes)s)"

# What became of a note: how many it names, how many of them are here, how many it has no right to reject.
EFFECT: Final = f"""
SELECT note.code, note.permitted, count(*), count(study.id) FILTER (WHERE NOT {_HOLDS})
  FROM rejection_note AS note JOIN rejection_reference AS reference ON reference.note_id = note.id
  LEFT JOIN study ON study.study_instance_uid = reference.study_instance_uid AND study.quarantine = ''
 WHERE note.id = %(note)s AND NOT reference.stale GROUP BY note.id
"""

# Notes that were stored and not read: the process died in between, or they were adopted.
UNREAD: Final = f"""
SELECT study.study_instance_uid, series.series_instance_uid, instance.sop_instance_uid,
       stored_object.key, stored_object.size, stored_object.digest, stored_object.dataset_offset,
       stored_object.transfer_syntax_uid, stored_object.calling_ae_title
  FROM instance JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
  JOIN stored_object ON stored_object.instance_id = instance.id AND current
 WHERE instance.hidden <> 0 AND instance.hidden & {NOTES:d} <> 0 AND study.quarantine = ''
   AND stored_object.state = 'available'
   AND NOT EXISTS (SELECT 1 FROM rejection_note AS note
                    WHERE note.instance_id = instance.id AND note.object_id = stored_object.id)
 ORDER BY instance.id LIMIT %(limit)s
"""

RECORD: Final = """
INSERT INTO hiding_action (action, subject, who, why, instances)
VALUES (%(action)s, %(subject)s, %(who)s, %(why)s, %(instances)s)
"""
RECORD_NOTE: Final = """
INSERT INTO hiding_action (action, subject, who, why, instances)
SELECT 'note received', sop_instance_uid, calling_ae_title || '@' || address, description,
       (SELECT count(*) FROM rejection_reference WHERE note_id = note.id AND NOT stale)
  FROM rejection_note AS note JOIN stored_object ON stored_object.id = object_id WHERE note.id = %(note)s
"""
