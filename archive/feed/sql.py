"""The statements that write the change feed. Parameters are psycopg's ``%(name)s``."""

from __future__ import annotations

from typing import Final

NOTE: Final = "INSERT INTO change_pending (kind, instance_id, object_id, before, after)"
"""Who changes what is there already adds rows to these columns in the transaction of the change,"""
IF_FOLLOWED: Final = "EXISTS (SELECT FROM feed_cursor)"
"""as long as somebody will take them out again."""

LOCK: Final = "SELECT last FROM feed_cursor FOR UPDATE SKIP LOCKED"
POSITION: Final = "SELECT position FROM feed_cursor"
MOVE: Final = "UPDATE feed_cursor SET last = %(last)s"

_COLUMNS: Final = """
    sequence, kind, facility_id, study_id, instance_id, study_instance_uid, series_instance_uid, sop_instance_uid,
    sop_class_uid, before, after"""

# A version that is not shown changes nothing that anybody sees.
TELL_STORED: Final = f"""
WITH new AS (
    SELECT stored_object.id, version, current, instance_id, study.id AS study_id, study.facility_id, hidden,
           study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid
      FROM stored_object JOIN instance ON instance.id = instance_id
      JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
     WHERE stored_object.id > %(position)s AND stored_object.id <= %(horizon)s
     ORDER BY stored_object.id LIMIT %(most)s
), told AS (
    INSERT INTO change ({_COLUMNS})
    SELECT %(last)s + row_number() OVER (ORDER BY id), CASE version WHEN 1 THEN 'stored' ELSE 'replaced' END,
           facility_id, study_id, instance_id, study_instance_uid, series_instance_uid, sop_instance_uid,
           sop_class_uid, 0, hidden
      FROM new WHERE version = 1 OR current
    RETURNING 1
), gathering AS (
    INSERT INTO change_gathering (study_id, due_at)
    SELECT DISTINCT study_id, now() + make_interval(secs => %(quiet)s) FROM new
    ON CONFLICT (study_id) DO UPDATE SET due_at = EXCLUDED.due_at
)
SELECT (SELECT count(*) FROM new), coalesce((SELECT max(id) FROM new), %(position)s), (SELECT count(*) FROM told)
"""

# Only of versions that were told of. What is gone meanwhile was in quarantine, and is released.
TELL_PENDING: Final = f"""
WITH due AS (
    DELETE FROM change_pending
     WHERE id IN (SELECT id FROM change_pending WHERE object_id <= %(position)s ORDER BY id LIMIT %(most)s)
    RETURNING id, kind, instance_id, before, after
), told AS (
    INSERT INTO change ({_COLUMNS})
    SELECT %(last)s + row_number() OVER (ORDER BY due.id), kind, study.facility_id, study.id, instance.id,
           study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid,
           coalesce(due.before, hidden), coalesce(due.after, hidden)
      FROM due JOIN instance ON instance.id = due.instance_id
      JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM told)
"""

TELL_COMPLETE: Final = f"""
WITH due AS (
    DELETE FROM change_gathering
     WHERE study_id IN (SELECT study_id FROM change_gathering WHERE due_at <= now()
                         ORDER BY due_at, study_id LIMIT %(most)s)
    RETURNING study_id, due_at
), told AS (
    INSERT INTO change ({_COLUMNS})
    SELECT %(last)s + row_number() OVER (ORDER BY due_at, study.id), 'complete', facility_id, study.id, NULL,
           study_instance_uid, NULL, NULL, NULL, 0,
           CASE WHEN instance_count = 0 THEN
               coalesce((SELECT min(hidden) FROM series JOIN instance ON instance.series_id = series.id
                          WHERE series.study_id = study.id), 0) ELSE 0 END
      FROM due JOIN study ON study.id = due.study_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM told)
"""

# From the beginning: the primary key gives their order, which is that of their age.
FORGET: Final = """
WITH old AS (
    SELECT sequence FROM (SELECT sequence, at FROM change ORDER BY sequence LIMIT %(most)s) AS first
     WHERE at < now() - make_interval(secs => %(seconds)s)
), gone AS (
    DELETE FROM change WHERE sequence IN (SELECT sequence FROM old) RETURNING sequence
), moved AS (
    UPDATE feed_cursor SET forgotten = greatest(forgotten, (SELECT max(sequence) FROM gone))
     WHERE EXISTS (SELECT FROM gone)
)
SELECT count(*) FROM gone
"""
