"""The statements of the quarantine."""

from __future__ import annotations

from typing import Final

from archive.feed import sql as feed
from archive.rejection.causes import Hidden

_OF: Final = """
  FROM study JOIN series ON series.study_id = study.id JOIN instance ON instance.series_id = series.id
"""
# What is not in quarantine has no sender there: an empty name must not mean the whole archive.
_WHICH: Final = """
 WHERE study.quarantine <> '' AND study.quarantine = %(sender)s
   AND (%(study)s::text IS NULL OR study_instance_uid = %(study)s)
"""

LIST: Final = f"""
SELECT quarantine AS sender, study_instance_uid AS study, patient.patient_id, patient.name AS patient_name,
       study_date, study_description AS description,
       array_remove(array_agg(DISTINCT modality), '') AS modalities, count(*) AS instances,
       count(*) FILTER (WHERE hidden & {Hidden.DISCARDED:d} <> 0) AS discarded, sum(size)::bigint AS bytes,
       min(received_at) AS first, max(received_at) AS last,
       EXISTS (SELECT 1 FROM study AS other WHERE other.study_instance_uid = study.study_instance_uid
                                               AND other.quarantine = '' AND other.instance_count > 0) AS known
{_OF} JOIN patient ON patient.id = study.patient_id
  JOIN stored_object ON stored_object.instance_id = instance.id AND stored_object.current
 WHERE study.quarantine <> ''
 GROUP BY study.id, patient.id ORDER BY max(received_at) DESC, study.id
"""

OBJECTS: Final = f"""
SELECT stored_object.id, stored_object.key, stored_object.received_at, stored_object.transport,
       stored_object.calling_ae_title, stored_object.address, study_instance_uid
{_OF} JOIN stored_object ON stored_object.instance_id = instance.id
{_WHICH} AND hidden & {Hidden.DISCARDED:d} = 0
 ORDER BY instance.id, version
"""

TAKE_OUT: Final = "DELETE FROM stored_object WHERE id = %(id)s AND key = %(key)s RETURNING instance_id"
TAKE_OUT_INSTANCE: Final = """
WITH gone AS (
    DELETE FROM instance WHERE id = %(instance)s
       AND NOT EXISTS (SELECT 1 FROM stored_object WHERE instance_id = %(instance)s) RETURNING series_id
), of_series AS (
    UPDATE series SET hidden_count = hidden_count - 1 FROM gone WHERE series.id = gone.series_id
    RETURNING series.study_id
)
UPDATE study SET hidden_count = hidden_count - 1, updated_at = clock_timestamp()
  FROM of_series WHERE study.id = of_series.study_id
"""

DISCARD: Final = f"""
WITH changed AS (
    UPDATE instance SET hidden = hidden | {Hidden.DISCARDED:d}
      FROM series JOIN study ON study.id = series.study_id
    {_WHICH} AND series.id = instance.series_id AND hidden & {Hidden.DISCARDED:d} = 0
    RETURNING instance.id, hidden, study_instance_uid
), noted AS (
    {feed.NOTE}
    SELECT 'visibility', changed.id, stored_object.id, hidden & ~{Hidden.DISCARDED:d}, hidden
      FROM changed JOIN stored_object ON instance_id = changed.id AND current WHERE {feed.IF_FOLLOWED}
)
SELECT study_instance_uid FROM changed
"""
