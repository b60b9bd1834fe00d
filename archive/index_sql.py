"""The statements with which the index is written. Parameters are psycopg's ``%(name)s``."""

from __future__ import annotations

from typing import Final, NamedTuple


class VersionRow(NamedTuple):
    """A row of `VERSIONS`."""

    id: int
    instance_id: int
    version: int
    current: bool
    key: str
    size: int
    digest: bytes
    transfer_syntax_uid: str
    facility_id: int
    state: str
    sop_class_uid: str


INSERT_FACILITY: Final = "INSERT INTO facility (code, name) VALUES (%(code)s, %(code)s) ON CONFLICT (code) DO NOTHING"
FIND_FACILITY: Final = "SELECT id FROM facility WHERE code = %(code)s"
NAME_FACILITY: Final = """
INSERT INTO facility (code, name, district, care_level) VALUES (%(code)s, %(name)s, %(district)s, %(care_level)s)
ON CONFLICT (code) DO UPDATE SET name = EXCLUDED.name, district = EXCLUDED.district, care_level = EXCLUDED.care_level
 WHERE (facility.name, facility.district, facility.care_level)
       IS DISTINCT FROM (EXCLUDED.name, EXCLUDED.district, EXCLUDED.care_level)
"""

INSERT_PATIENT: Final = """
INSERT INTO patient (issuer, identity, patient_id, name, name_fold, birth_date, sex, attributes)
SELECT %(issuer)s, %(identity)s, %(patient_id)s, %(name)s, %(name_fold)s, %(birth_date)s, %(sex)s,
       %(patient_attributes)s
 WHERE NOT EXISTS (SELECT 1 FROM study WHERE study_instance_uid = %(study_instance_uid)s
                                         AND quarantine = %(quarantine)s)
ON CONFLICT (issuer, identity) DO NOTHING
"""

# Later objects may carry what the first left empty. What is there is never changed by an object.
FILL_PATIENT: Final = """
UPDATE patient
   SET attributes = %(patient_attributes)s::jsonb || attributes,
       name = CASE WHEN name = '' THEN %(name)s ELSE name END,
       name_fold = CASE WHEN name = '' THEN %(name_fold)s ELSE name_fold END,
       birth_date = coalesce(birth_date, %(birth_date)s),
       sex = CASE WHEN sex = '' THEN %(sex)s ELSE sex END
 WHERE issuer = %(issuer)s AND identity = %(identity)s AND NOT attributes ?& %(patient_keys)s::text[]
"""

INSERT_STUDY: Final = """
INSERT INTO study (study_instance_uid, quarantine, patient_id, facility_id, study_date, study_time,
                   accession_number, study_id, study_description, referring_physician_fold, attributes)
SELECT %(study_instance_uid)s, %(quarantine)s, patient.id, %(facility_id)s, %(study_date)s, %(study_time)s,
       %(accession_number)s, %(study_id)s, %(study_description)s, %(referring_physician_fold)s, %(study_attributes)s
  FROM patient WHERE issuer = %(issuer)s AND identity = %(identity)s
ON CONFLICT (study_instance_uid, quarantine) DO NOTHING
"""

FILL_STUDY: Final = """
UPDATE study
   SET attributes = %(study_attributes)s::jsonb || attributes,
       study_date = coalesce(study_date, %(study_date)s),
       study_time = coalesce(study_time, %(study_time)s),
       accession_number = CASE WHEN accession_number = '' THEN %(accession_number)s ELSE accession_number END,
       study_id = CASE WHEN study_id = '' THEN %(study_id)s ELSE study_id END,
       study_description = CASE WHEN study_description = '' THEN %(study_description)s ELSE study_description END,
       referring_physician_fold = CASE WHEN referring_physician_fold = '' THEN %(referring_physician_fold)s
                                       ELSE referring_physician_fold END
 WHERE study_instance_uid = %(study_instance_uid)s AND quarantine = %(quarantine)s
   AND NOT attributes ?& %(study_keys)s::text[]
"""

INSERT_SERIES: Final = """
INSERT INTO series (study_id, series_instance_uid, modality, series_number, series_description, body_part_examined,
                    performed_date, performed_time, attributes)
SELECT study.id, %(series_instance_uid)s, %(modality)s, %(series_number)s, %(series_description)s,
       %(body_part_examined)s, %(performed_date)s, %(performed_time)s, %(series_attributes)s
  FROM study WHERE study_instance_uid = %(study_instance_uid)s AND quarantine = %(quarantine)s
ON CONFLICT (study_id, series_instance_uid) DO NOTHING
"""

FIND_SERIES: Final = """
SELECT series.id, patient.issuer, patient.identity, study.rejection_epoch, quarantine = '' AND EXISTS (
           SELECT 1 FROM rejection_reference WHERE study_instance_uid = %(study_instance_uid)s)
  FROM series JOIN study ON study.id = series.study_id JOIN patient ON patient.id = study.patient_id
 WHERE study_instance_uid = %(study_instance_uid)s AND quarantine = %(quarantine)s
   AND series_instance_uid = %(series_instance_uid)s
"""

# The types of what an arrival gives to the statements below.
INPUT: Final = {
    "n": "int",
    "block": "bigint",
    "series_id": "bigint",
    "facility_id": "bigint",
    "sop_instance_uid": "text",
    "sop_class_uid": "text",
    "instance_number": "bigint",
    "rows": "int",
    "columns": "int",
    "bits_allocated": "int",
    "number_of_frames": "int",
    "hidden": "smallint",
    "epoch": "bigint",
    "attributes": "jsonb",
    "key": "text",
    "size": "bigint",
    "digest": "bytea",
    "transfer_syntax_uid": "text",
    "dataset_offset": "int",
    "header_length": "bigint",
    "trailer_offset": "bigint",
    "frame_table": "bytea",
    "corrections": "jsonb",
    "transport": "text",
    "calling_ae_title": "text",
    "address": "text",
    "user_name": "text",
    "warnings": "text[]",
    "received_at": "timestamptz",
    "commit": "text",
}
_INSTANCE: Final = """sop_instance_uid, sop_class_uid, instance_number, rows, columns, bits_allocated, number_of_frames,
    attributes"""
_OBJECT: Final = """key, size, digest, transfer_syntax_uid, dataset_offset, header_length, trailer_offset, frame_table,
    corrections, facility_id, transport, calling_ae_title, address, user_name, received_at"""


def _values(names: str) -> str:
    return ", ".join(f"%({name.strip()})s" for name in names.split(","))


_OBJECT_VALUES: Final = _values(_OBJECT)


def _committed(how: str) -> str:
    """True, and the transaction commits as this says, if it is not null; see `IndexWriter`."""
    return f"set_config('synchronous_commit', coalesce({how}, current_setting('synchronous_commit')), true) <> ''"


# One statement is one transaction and one round trip. The rows come as one JSON text: to adapt 25 arrays took psycopg
# a fifth of the time that Python spends on an object. The lock on the key blocks makes sure that none of them is being
# settled; `n` comes back for the rows that were inserted. Should the epoch of a study not be the one by which `hidden`
# was decided, its count becomes NULL, which the column refuses, and with it the statement.
def _insert_instances(*, hidden: bool) -> str:
    """For arrivals of which none is hidden, or for any: what is not counted need not be told apart."""
    inputs = INPUT if hidden else {name: kind for name, kind in INPUT.items() if name != "hidden"}
    # JSON cannot hold bytes: they come in base64.
    given = ", ".join(f"{name} {'text' if kind == 'bytea' else kind}" for name, kind in inputs.items())
    selected = ", ".join(
        f"decode({name}, 'base64') AS {name}" if kind == "bytea" else name for name, kind in inputs.items()
    )
    instance = f"hidden, {_INSTANCE}" if hidden else _INSTANCE
    shown = "FILTER (WHERE hidden = 0)" if hidden else ""
    return f"""
WITH given AS (
    SELECT {selected} FROM json_to_recordset(%(rows)s::json) AS t({given})
), open_block AS (
    SELECT id FROM key_block WHERE id IN (SELECT block FROM given) AND state = 'open'
       AND {_committed("(SELECT min(commit) FROM given)")} FOR SHARE
), input AS (
    SELECT given.* FROM given JOIN open_block ON open_block.id = given.block
), ins AS (
    INSERT INTO instance (series_id, {instance})
    SELECT series_id, {instance} FROM input ORDER BY n
    ON CONFLICT (series_id, sop_instance_uid) DO NOTHING
    RETURNING id, series_id, sop_instance_uid
), chosen AS (
    SELECT DISTINCT ON (series_id, sop_instance_uid) ins.id AS instance_id, input.*
      FROM ins JOIN input USING (series_id, sop_instance_uid)
     ORDER BY series_id, sop_instance_uid, n
), obj AS (
    INSERT INTO stored_object (instance_id, version, current, warnings, {_OBJECT})
    SELECT instance_id, 1, true, warnings, {_OBJECT} FROM chosen
), per_series AS (
    SELECT series_id, {"count(*) FILTER (WHERE hidden <> 0) AS others," if hidden else ""}
           count(*) {shown} AS instances, sum(size) {shown} AS bytes, min(epoch) AS epoch,
           array_agg(DISTINCT sop_class_uid) {shown} AS classes
      FROM chosen GROUP BY series_id
), new_series AS (
    UPDATE series SET instance_count = instance_count + instances
                      {", hidden_count = hidden_count + others" if hidden else ""}
      FROM per_series WHERE series.id = per_series.series_id
    RETURNING series.study_id, series.modality, {"instances > 0 AND" if hidden else ""}
              instance_count = instances AS is_first, instances, {"others," if hidden else ""} bytes, epoch, classes
), per_study AS (
    SELECT study_id, sum(instances) AS instances, {"sum(others) AS others," if hidden else ""} sum(bytes) AS bytes,
           min(epoch) AS epoch, count(*) FILTER (WHERE is_first) AS series,
           array_agg(DISTINCT modality) FILTER (WHERE is_first AND modality <> '') AS modalities
      FROM new_series GROUP BY study_id
), per_class AS (
    SELECT study_id, array_agg(DISTINCT class) AS classes FROM new_series, unnest(classes) AS class GROUP BY study_id
), counted AS (
    UPDATE study
       SET instance_count = CASE WHEN study.rejection_epoch = per_study.epoch
               THEN study.instance_count + per_study.instances END,
           {"hidden_count = study.hidden_count + per_study.others," if hidden else ""}
           series_count = study.series_count + per_study.series,
           byte_count = study.byte_count + {"coalesce(per_study.bytes, 0)" if hidden else "per_study.bytes"},
           modalities_in_study = CASE WHEN study.modalities_in_study @> coalesce(modalities, '{{}}')
               THEN study.modalities_in_study
               ELSE ARRAY(SELECT DISTINCT unnest(study.modalities_in_study || modalities) ORDER BY 1) END,
           sop_classes_in_study = CASE WHEN study.sop_classes_in_study @> coalesce(classes, '{{}}')
               THEN study.sop_classes_in_study
               ELSE ARRAY(SELECT DISTINCT unnest(study.sop_classes_in_study || classes) ORDER BY 1) END,
           updated_at = clock_timestamp()
      FROM per_study {"LEFT" if hidden else ""} JOIN per_class USING (study_id)
     WHERE study.id = per_study.study_id
)
SELECT n FROM chosen
"""


# The same for one arrival that is shown: what an association alone brings. PostgreSQL spends most of its time on
# the parts that a statement has: this one has half of them, and takes two thirds of the time.
INSERT_ONE: Final = f"""
WITH open_block AS (
    SELECT FROM key_block WHERE id = %(block)s AND state = 'open' AND {_committed("%(commit)s")} FOR SHARE
), ins AS (
    INSERT INTO instance (series_id, {_INSTANCE})
    SELECT %(series_id)s, {_values(_INSTANCE)} FROM open_block
    ON CONFLICT (series_id, sop_instance_uid) DO NOTHING
    RETURNING id, series_id
), obj AS (
    INSERT INTO stored_object (instance_id, version, current, warnings, {_OBJECT})
    SELECT id, 1, true, %(warnings)s, {_values(_OBJECT)} FROM ins
), new_series AS (
    UPDATE series SET instance_count = instance_count + 1 FROM ins WHERE series.id = ins.series_id
    RETURNING series.study_id, series.modality, instance_count = 1 AS is_first
), counted AS (
    UPDATE study
       SET instance_count = CASE WHEN rejection_epoch = %(epoch)s THEN instance_count + 1 END,
           series_count = series_count + is_first::int,
           byte_count = byte_count + %(size)s,
           modalities_in_study = CASE WHEN NOT is_first OR modality = '' OR modality = ANY (modalities_in_study)
               THEN modalities_in_study
               ELSE ARRAY(SELECT DISTINCT unnest(modalities_in_study || modality) ORDER BY 1) END,
           sop_classes_in_study = CASE WHEN %(sop_class_uid)s = ANY (sop_classes_in_study)
               THEN sop_classes_in_study
               ELSE ARRAY(SELECT DISTINCT unnest(sop_classes_in_study || %(sop_class_uid)s) ORDER BY 1) END,
           updated_at = clock_timestamp()
      FROM new_series WHERE study.id = new_series.study_id
)
SELECT FROM ins
"""
INSERT_INSTANCES: Final = _insert_instances(hidden=False)
INSERT_SOME_HIDDEN: Final = _insert_instances(hidden=True)

LOCK_INSTANCE: Final = """
SELECT instance.id
  FROM study JOIN series ON series.study_id = study.id JOIN instance ON instance.series_id = series.id
 WHERE study_instance_uid = %(study)s AND quarantine = %(quarantine)s
   AND series_instance_uid = %(series)s AND sop_instance_uid = %(instance)s
   FOR UPDATE OF instance
"""
# A statement of its own: it must see what the holder of the lock before us has committed.
VERSIONS: Final = """
SELECT stored_object.id, instance_id, version, current, key, size, digest, transfer_syntax_uid, facility_id, state,
       sop_class_uid
  FROM stored_object JOIN instance ON instance.id = instance_id WHERE instance_id = %(instance_id)s ORDER BY version
"""

ALSO_SENT: Final = """
INSERT INTO also_sent (object_id, facility_id, calling_ae_title)
VALUES (%(object_id)s, %(facility_id)s, %(calling_ae_title)s) ON CONFLICT DO NOTHING
"""

RETIRE_CURRENT: Final = """
WITH retired AS (
    UPDATE stored_object SET current = false WHERE instance_id = %(instance_id)s AND current RETURNING size
)
UPDATE study SET byte_count = byte_count + %(size)s - (SELECT coalesce(sum(size), 0) FROM retired),
                 updated_at = clock_timestamp()
  FROM series JOIN instance ON instance.series_id = series.id
 WHERE study.id = series.study_id AND instance.id = %(instance_id)s AND instance.hidden = 0
"""

INSERT_VERSION: Final = f"""
WITH open_block AS (SELECT id FROM key_block WHERE id = %(block)s AND state = 'open' FOR SHARE)
INSERT INTO stored_object (instance_id, version, current, warnings, {_OBJECT})
SELECT %(instance_id)s, %(version)s, %(current)s, %(warnings)s::text[], {_OBJECT_VALUES}
  FROM open_block
"""

UPDATE_INSTANCE: Final = """
UPDATE instance
   SET sop_class_uid = %(sop_class_uid)s, instance_number = %(instance_number)s, rows = %(rows)s,
       columns = %(columns)s, bits_allocated = %(bits_allocated)s, number_of_frames = %(number_of_frames)s,
       attributes = %(attributes)s
 WHERE id = %(instance_id)s
"""

# The new version is of another SOP class: the only case in which a class may have gone from the study.
RECOUNT_CLASSES: Final = """
UPDATE study
   SET sop_classes_in_study = ARRAY(
           SELECT DISTINCT sop_class_uid FROM series JOIN instance ON instance.series_id = series.id
            WHERE series.study_id = study.id AND instance.hidden = 0 ORDER BY 1)
 WHERE id = (SELECT study_id FROM series JOIN instance ON instance.series_id = series.id
              WHERE instance.id = %(instance_id)s)
"""

# The row may have been repaired by somebody else meanwhile, then it has a third key; or by ourselves, before the
# connection broke, then it has the new one.
REPLACE_LOST: Final = """
WITH open_block AS (
    SELECT id FROM key_block WHERE id = %(block)s AND state = 'open' FOR SHARE
), lost AS (
    SELECT stored_object.id, instance_id, size, current AND hidden = 0 AS counts
      FROM stored_object JOIN instance ON instance.id = instance_id
     WHERE stored_object.id = %(id)s AND key IN (%(lost_key)s, %(key)s) FOR UPDATE
), replaced AS (
    UPDATE stored_object
       SET key = %(key)s, size = %(size)s, dataset_offset = %(dataset_offset)s, header_length = %(header_length)s,
           trailer_offset = %(trailer_offset)s, frame_table = %(frame_table)s, state = 'available'
      FROM open_block, lost WHERE stored_object.id = lost.id
    RETURNING stored_object.id
), counted AS (
    UPDATE study SET byte_count = byte_count + %(size)s - lost.size
      FROM lost, replaced, instance, series
     WHERE lost.counts AND instance.id = lost.instance_id AND series.id = instance.series_id
       AND study.id = series.study_id AND lost.size <> %(size)s
)
SELECT id FROM replaced
"""
