"""The statements of `archive.correction.reapply`. Parameters are psycopg's ``%(name)s``."""

from __future__ import annotations

from typing import Any, Final

from psycopg.types.json import Jsonb

from archive.feed import sql as feed

STUDY_BY_UID: Final = "SELECT id FROM study WHERE study_instance_uid = %(study)s AND quarantine = ''"

STUDIES: Final = """
SELECT id FROM study
 WHERE id > %(after)s AND EXISTS (
    SELECT 1 FROM series JOIN instance ON instance.series_id = series.id
             JOIN stored_object ON stored_object.instance_id = instance.id
     WHERE series.study_id = study.id
       AND (calling_ae_title = ANY(%(titles)s::text[]) OR (%(peer)s = '' AND corrections IS NOT NULL)))
 ORDER BY id LIMIT %(limit)s
"""

OBJECTS: Final = """
SELECT stored_object.id, calling_ae_title, facility.code, current, corrections
  FROM series JOIN instance ON instance.series_id = series.id
  JOIN stored_object ON stored_object.instance_id = instance.id
  JOIN facility ON facility.id = stored_object.facility_id
 WHERE series.study_id = %(study)s
   AND (calling_ae_title = ANY(%(titles)s::text[]) OR (%(peer)s = '' AND corrections IS NOT NULL))
 ORDER BY stored_object.id
"""

# In the order in which ingest takes them.
LOCK_PATIENT: Final = """
SELECT patient.id FROM patient JOIN study ON study.patient_id = patient.id WHERE study.id = %(study)s
   FOR UPDATE OF patient
"""
LOCK_STUDY: Final = "SELECT id FROM study WHERE id = %(study)s FOR UPDATE"

EXCHANGE_CORRECTIONS: Final = f"""
WITH changed AS (
    UPDATE stored_object SET corrections = %(after)s
     WHERE id = %(id)s AND corrections IS NOT DISTINCT FROM %(before)s::jsonb
    RETURNING id, instance_id, current
), noted AS (
    {feed.NOTE} SELECT 'corrected', instance_id, id, NULL, NULL FROM changed WHERE current AND {feed.IF_FOLLOWED}
)
INSERT INTO former_corrections (object_id, corrections) SELECT id, %(before)s FROM changed RETURNING object_id
"""

# What a document says of itself.
EXCHANGE_ATTRIBUTES: Final = """
UPDATE instance SET attributes = %(after)s FROM stored_object
 WHERE stored_object.id = %(id)s AND instance.id = instance_id
   AND instance.attributes IS NOT DISTINCT FROM %(before)s::jsonb
"""

RUN: Final = """
SELECT study_id FROM correction_run WHERE peer = %(peer)s AND settings = %(settings)s AND finished_at IS NULL
"""
RUN_BEGINS: Final = """
INSERT INTO correction_run (peer, settings, study_id, changed) VALUES (%(peer)s, %(settings)s, 0, 0)
ON CONFLICT (peer) DO UPDATE SET settings = EXCLUDED.settings, study_id = 0, changed = 0,
                                 started_at = clock_timestamp(), finished_at = NULL
"""
RUN_REACHED: Final = "UPDATE correction_run SET study_id = %(study)s, changed = %(changed)s WHERE peer = %(peer)s"
RUN_FINISHED: Final = "UPDATE correction_run SET finished_at = clock_timestamp() WHERE peer = %(peer)s"


def jsonb(value: dict[str, Any]) -> Jsonb:
    return Jsonb(value)
