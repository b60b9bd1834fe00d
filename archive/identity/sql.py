"""The statements by which persons are kept. Parameters are psycopg's ``%(name)s``; rows go in as one JSON text."""

from __future__ import annotations

from typing import Final

LOCK: Final = "SELECT pg_advisory_xact_lock(%s)"
# Plans are kept by the session, and those that were made for empty tables are very slow for large ones.
PLAN_ANEW: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
LOCK_SHARED: Final = "SELECT pg_advisory_xact_lock_shared(%s)"
GATE: Final = 0x1DE27171
"""Whoever changes persons holds this alone until the end of the transaction, so that no two merges cross each other.
Whoever gives access by what persons are holds it together with others (`archive.sharing.care`)."""

# -- what is known of a record ---------------------------------------------------------------------------------------

_SAID: Final = """
       (SELECT jsonb_object_agg(source, facts) FROM identity_claim WHERE record_id = record.id) AS claims,
       record.id AS record, record.person_id, record.how, record.patient_id AS known_patient,
       record.name_key AS known_key
"""
_OF_PATIENT: Final = """patient.id AS patient, patient.patient_id AS number, patient.name, patient.birth_date,
       patient.sex, patient.attributes -> '00100030' AS born, patient.attributes -> '00101002' AS others,
       patient.attributes -> '00101000' AS other_ids, patient.xmin::text::bigint AS seen"""
PATIENTS: Final = f"""
SELECT patient.issuer, patient.identity, {_OF_PATIENT}, {_SAID}
  FROM patient LEFT JOIN identity_record AS record
    ON record.issuer = patient.issuer AND record.identity = patient.identity
 WHERE patient.id = ANY(%(patients)s)
   AND EXISTS (SELECT FROM study WHERE study.patient_id = patient.id AND study.quarantine = '')
 ORDER BY patient.id
"""  # noqa: S608
RECORDS: Final = f"""
SELECT record.issuer, record.identity, {_OF_PATIENT}, {_SAID}
  FROM identity_record AS record LEFT JOIN patient ON patient.id = record.patient_id
 WHERE record.id = ANY(%(records)s) ORDER BY record.id
"""  # noqa: S608
FIND: Final = "SELECT id FROM identity_record WHERE issuer = %(issuer)s AND identity = %(id)s"
_WANTED: Final = "json_to_recordset(%(rows)s::json) AS wanted(issuer text, identity text)"
FIND_ALL: Final = f"SELECT id, issuer, identity FROM {_WANTED} JOIN identity_record USING (issuer, identity)"  # noqa: S608
FIND_PATIENTS: Final = f"SELECT patient.id FROM {_WANTED} JOIN patient USING (issuer, identity)"  # noqa: S608
PERSON_IDS: Final = "SELECT nextval(pg_get_serial_sequence('person', 'id')) FROM generate_series(1, %(count)s)"
ADD_PERSONS: Final = """
INSERT INTO person (id, kind, citizen_id, name, name_fold, birth_date, sex) OVERRIDING SYSTEM VALUE
SELECT id, kind, citizen_id, name, name_fold, birth_date, sex
  FROM json_to_recordset(%(rows)s::json)
    AS t(id bigint, kind text, citizen_id text, name text, name_fold text, birth_date date, sex text)
"""
_RECORD: Final = """t(id bigint, issuer text, identity text, number text, patient_id bigint, person_id bigint,
                      name text, name_fold text, name_key text, given text, birth_date date, birth_year int,
                      sex text, phone text, seen bigint, due boolean)"""
ADD_RECORDS: Final = f"""
INSERT INTO identity_record (issuer, identity, number, patient_id, person_id, name, name_fold, name_key, given,
                             birth_date, birth_year, sex, phone, seen)
SELECT issuer, identity, number, patient_id, person_id, name, name_fold, name_key, given, birth_date, birth_year, sex,
       phone, seen
  FROM json_to_recordset(%(rows)s::json) AS {_RECORD}
RETURNING id, issuer, identity
"""  # noqa: S608
CHANGE_RECORDS: Final = f"""
UPDATE identity_record AS record
   SET patient_id = t.patient_id, number = t.number, name = t.name, name_fold = t.name_fold, name_key = t.name_key,
       given = t.given, birth_date = t.birth_date, birth_year = t.birth_year, sex = t.sex, phone = t.phone,
       seen = t.seen, due = record.due OR t.due,
       updated_at = CASE WHEN t.due THEN clock_timestamp() ELSE record.updated_at END
  FROM json_to_recordset(%(rows)s::json) AS {_RECORD} WHERE record.id = t.id
"""  # noqa: S608
CLEAR_NUMBERS: Final = "DELETE FROM identity_identifier WHERE record_id = ANY(%(records)s)"
ADD_NUMBERS: Final = """
INSERT INTO identity_identifier (record_id, kind, issuer, value, text)
SELECT record_id, kind, issuer, value, text
  FROM json_to_recordset(%(rows)s::json) AS t(record_id bigint, kind text, issuer text, value text, text text)
ON CONFLICT DO NOTHING
"""
COUNT_NAMES: Final = """
INSERT INTO identity_name (name_key, records)
SELECT name_key, change FROM json_to_recordset(%(rows)s::json) AS t(name_key text, change int) ORDER BY name_key
ON CONFLICT (name_key) DO UPDATE SET records = identity_name.records + EXCLUDED.records
"""
CLAIM: Final = """
WITH said AS (
    SELECT record_id, facts, by
      FROM json_to_recordset(%(rows)s::json) AS t(record_id bigint, facts jsonb, by text)
), before AS (
    SELECT claim.record_id, claim.facts FROM identity_claim AS claim JOIN said USING (record_id)
     WHERE claim.source = %(source)s
), written AS (
    INSERT INTO identity_claim (record_id, source, facts, said_by)
    SELECT record_id, %(source)s, facts, by FROM said
    ON CONFLICT (record_id, source) DO UPDATE
       SET facts = EXCLUDED.facts, said_by = EXCLUDED.said_by, said_at = clock_timestamp()
)
SELECT said.record_id FROM said LEFT JOIN before USING (record_id) WHERE before.facts IS DISTINCT FROM said.facts
"""

# -- records and their persons ---------------------------------------------------------------------------------------

_LOAD: Final = """
SELECT record.id,
       (SELECT array_agg(ARRAY[kind, value, issuer, text] ORDER BY kind, value) FROM identity_identifier
         WHERE record_id = record.id) AS numbers,
       score, linked_by, linked_at, issuer, identity, number, name, birth_date, birth_year, sex, phone, patient_id,
       person_id, how, seen, name_fold, name_key, given
  FROM identity_record AS record
"""
LOAD: Final = f"{_LOAD} WHERE record.id = ANY(%(records)s)"
LOAD_OF_PERSONS: Final = f"{_LOAD} WHERE record.person_id = ANY(%(persons)s) ORDER BY record.id"
LOAD_WITH_PERSONS: Final = f"""{_LOAD}
 WHERE record.person_id = ANY(ARRAY(SELECT person_id FROM identity_record WHERE id = ANY(%(records)s)))
 ORDER BY record.id
"""  # noqa: S608
APART: Final = """
SELECT record_id, other_id FROM identity_apart WHERE record_id = ANY(%(records)s) AND other_id = ANY(%(records)s)
"""
ADD_APART: Final = """
INSERT INTO identity_apart (record_id, other_id, event_id)
SELECT least(one, other), greatest(one, other), %(event)s
  FROM unnest(%(ones)s::bigint[]) AS one CROSS JOIN unnest(%(others)s::bigint[]) AS other WHERE one <> other
ON CONFLICT DO NOTHING
RETURNING record_id, other_id
"""
NO_LONGER_APART: Final = """
DELETE FROM identity_apart
 WHERE (record_id = ANY(%(ones)s) AND other_id = ANY(%(others)s))
    OR (record_id = ANY(%(others)s) AND other_id = ANY(%(ones)s))
RETURNING record_id, other_id, event_id
"""
APART_AGAIN: Final = """
INSERT INTO identity_apart (record_id, other_id, event_id)
SELECT record_id, other_id, event_id FROM json_to_recordset(%(rows)s::json)
    AS t(record_id bigint, other_id bigint, event_id bigint) ON CONFLICT DO NOTHING
"""
FORGET_APART: Final = "DELETE FROM identity_apart WHERE event_id = %(event)s"
NAME_COUNTS: Final = "SELECT name_key, records FROM identity_name WHERE name_key = ANY(%(names)s)"
PEOPLE: Final = "SELECT count(*) FROM identity_record"
ASSIGN: Final = """
UPDATE identity_record AS record
   SET person_id = t.person_id, how = t.how, score = t.score, linked_by = t.linked_by,
       linked_at = coalesce(t.linked_at, clock_timestamp())
  FROM json_to_recordset(%(rows)s::json)
    AS t(id bigint, person_id bigint, how text, score float, linked_by text, linked_at timestamptz)
 WHERE record.id = t.id
"""
# What others join. It says the same as the records, always: it is written with them.
MIRROR: Final = """
INSERT INTO patient_person (patient_id, person_id, how, score, linked_by, linked_at)
SELECT patient_id, person_id, how, score, linked_by, linked_at FROM identity_record
 WHERE id = ANY(%(records)s) AND patient_id IS NOT NULL
ON CONFLICT (patient_id) DO UPDATE
   SET person_id = EXCLUDED.person_id, how = EXCLUDED.how, score = EXCLUDED.score, linked_by = EXCLUDED.linked_by,
       linked_at = EXCLUDED.linked_at
 WHERE (patient_person.person_id, patient_person.how) IS DISTINCT FROM (EXCLUDED.person_id, EXCLUDED.how)
"""
PERSONS: Final = """
SELECT id, kind, citizen_id, name, name_fold, birth_date, sex, merged_into FROM person WHERE id = ANY(%(persons)s)
"""
CHANGE_PERSONS: Final = """
UPDATE person
   SET kind = t.kind, citizen_id = t.citizen_id, name = t.name, name_fold = t.name_fold, birth_date = t.birth_date,
       sex = t.sex, merged_into = t.merged_into, updated_at = clock_timestamp()
  FROM json_to_recordset(%(rows)s::json)
    AS t(id bigint, kind text, citizen_id text, name text, name_fold text, birth_date date, sex text,
         merged_into bigint)
 WHERE person.id = t.id
   AND (person.kind, person.citizen_id, person.name, person.name_fold, person.birth_date, person.sex,
        person.merged_into)
       IS DISTINCT FROM (t.kind, t.citizen_id, t.name, t.name_fold, t.birth_date, t.sex, t.merged_into)
"""
LIVING: Final = """
WITH RECURSIVE chain AS (
    SELECT id, merged_into FROM person WHERE id = %(person)s
    UNION
    SELECT person.id, person.merged_into FROM chain JOIN person ON person.id = chain.merged_into
)
SELECT id FROM chain WHERE merged_into IS NULL
"""

# -- what was done ---------------------------------------------------------------------------------------------------

ADD_EVENTS: Final = """
INSERT INTO identity_event (action, person_id, other_person_id, caller_kind, caller, account_id, reason, detail, undoes,
                            ticket)
SELECT action, person_id, other_person_id, caller_kind, caller, account_id, reason, detail, undoes, ticket
  FROM json_to_recordset(%(rows)s::json)
    AS t(action text, person_id bigint, other_person_id bigint, caller_kind text, caller text, account_id bigint,
         reason text, detail jsonb, undoes bigint, ticket text)
RETURNING id
"""
EVENT_OF_TICKET: Final = "SELECT id, person_id FROM identity_event WHERE ticket = %(ticket)s"
EVENT: Final = """
SELECT id, action, person_id, other_person_id, detail, undoes,
       (SELECT later.id FROM identity_event AS later WHERE later.undoes = identity_event.id) AS undone_by
  FROM identity_event WHERE id = %(event)s
"""

# -- who may see patients because they treat them --------------------------------------------------------------------

CARE_DUE: Final = """
INSERT INTO care_due (patient_id) SELECT unnest(%(patients)s::bigint[]) ON CONFLICT DO NOTHING
"""

# A link is gone, so what it opened ends now; whoever treats one of them by themselves gets it again within seconds.
END_CARE: Final = """
UPDATE access_grant SET expires_at = now()
  FROM study
 WHERE study.id = access_grant.study_id AND study.patient_id = ANY(%(patients)s) AND access_grant.kind = 'care'
   AND access_grant.withdrawn_at IS NULL AND access_grant.expires_at > now()
"""

# -- who might be the same -------------------------------------------------------------------------------------------

DUE: Final = """
SELECT id FROM identity_record WHERE due ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
"""
WAITING: Final = "SELECT count(*) FROM identity_record WHERE due"
NOT_ENTERED: Final = """
SELECT greatest(0, (SELECT count(*) FROM patient) - (SELECT count(*) FROM identity_record WHERE patient_id IS NOT NULL))
"""
DONE: Final = "UPDATE identity_record SET due = false WHERE id = ANY(%(records)s) AND due"
# A number that far too many have, by different names or birth years, names nobody. Hospitals' numbers are also those by
# which the records are known. OFFSET keeps the list from being made for each use of it.
_MINE: Final = "json_to_recordset(%(numbers)s::json) AS mine(id bigint, kind text, issuer text, value text)"
STRONG: Final = f"""
SELECT mine.id, theirs.record_id
  FROM {_MINE}
 CROSS JOIN LATERAL (
       SELECT ARRAY(SELECT other.record_id FROM identity_identifier AS other
                     WHERE other.value = mine.value AND other.kind = mine.kind AND other.issuer = mine.issuer
                     LIMIT %(most)s * 10 + 1) AS records OFFSET 0) AS sharing
 CROSS JOIN LATERAL unnest(sharing.records) AS theirs(record_id)
 WHERE theirs.record_id <> mine.id
   AND CASE WHEN cardinality(sharing.records) <= %(most)s THEN true
            WHEN cardinality(sharing.records) > %(most)s * 10 THEN false
            ELSE %(most)s >= (SELECT count(DISTINCT (name_key, birth_year)) FROM identity_record AS other
                               WHERE other.id = ANY(sharing.records)) END
UNION
SELECT mine.id, theirs.id
  FROM {_MINE} JOIN identity_record AS theirs ON theirs.issuer = mine.issuer AND theirs.identity = mine.value
 WHERE mine.kind = 'facility' AND theirs.id <> mine.id
"""  # noqa: S608
# The same name in the same year, in none, or on the same day of a year of which one digit differs; nearly the same name
# on the same day; the same telephone. Each by an index. The first of January tells no day.
ALIKE: Final = """
SELECT mine.id, theirs.id
  FROM json_to_recordset(%(rows)s::json)
    AS mine(id bigint, name_key text, rest text, given text, birth_date date, birth_year int, years int[],
            days date[], phone text)
 CROSS JOIN LATERAL (
    (SELECT id FROM identity_record AS other
      WHERE other.name_key = mine.name_key AND other.birth_year = mine.birth_year AND other.name_key <> ''
      LIMIT %(most)s)
    UNION
    (SELECT id FROM identity_record AS other
      WHERE other.name_key = mine.name_key AND other.birth_year IS NULL AND other.name_key <> '' LIMIT %(most)s)
    UNION
    (SELECT id FROM identity_record AS other
      WHERE other.name_key = mine.name_key AND mine.birth_year IS NULL AND other.name_key <> '' LIMIT %(most)s)
    UNION
    (SELECT id FROM identity_record AS other
      WHERE other.name_key = mine.name_key AND other.birth_year = ANY(mine.years) AND other.name_key <> ''
        AND other.birth_date = ANY(mine.days) AND mine.days <> '{}' LIMIT %(most)s)
    UNION
    (SELECT id FROM identity_record AS other
      WHERE other.birth_date = mine.birth_date AND other.given = mine.given AND other.name_key <> '' LIMIT %(most)s)
    UNION
    (SELECT id FROM identity_record AS other
      WHERE other.birth_date = mine.birth_date AND mine.days <> '{}' AND other.name_key <> ''
        AND left(other.name_fold, -length(other.given)) = mine.rest LIMIT %(most)s)
    UNION
    (SELECT id FROM identity_record AS other
      WHERE other.phone = mine.phone AND other.phone <> '' LIMIT %(most)s)
 ) AS theirs
 WHERE mine.name_key <> '' AND theirs.id <> mine.id
"""
CLEAR_CANDIDATES: Final = """
DELETE FROM identity_candidate WHERE record_id = ANY(%(records)s) OR other_id = ANY(%(records)s)
"""
ADD_CANDIDATES: Final = """
INSERT INTO identity_candidate (record_id, other_id, likelihood, conflict, evidence)
SELECT record_id, other_id, likelihood, conflict, evidence
  FROM json_to_recordset(%(rows)s::json)
    AS t(record_id bigint, other_id bigint, likelihood float, conflict boolean, evidence jsonb)
ON CONFLICT (record_id, other_id) DO UPDATE
   SET likelihood = EXCLUDED.likelihood, conflict = EXCLUDED.conflict, evidence = EXCLUDED.evidence
"""

# -- what is new -----------------------------------------------------------------------------------------------------

CHANGED: Final = """
SELECT patient.id FROM patient LEFT JOIN identity_record AS record ON record.patient_id = patient.id
 WHERE patient.id = ANY(%(patients)s) AND record.seen IS DISTINCT FROM patient.xmin::text::bigint
"""
SWEEP: Final = """
SELECT patient.id FROM patient LEFT JOIN identity_record AS record ON record.patient_id = patient.id
 WHERE patient.id > %(behind)s AND record.seen IS DISTINCT FROM patient.xmin::text::bigint
   AND EXISTS (SELECT FROM study WHERE study.patient_id = patient.id AND study.quarantine = '')
 ORDER BY patient.id LIMIT %(most)s
"""
SWEPT: Final = "UPDATE identity_cursor SET swept_at = clock_timestamp()"
SWEEP_DUE: Final = """
SELECT FROM identity_cursor WHERE swept_at IS NULL OR swept_at < now() - make_interval(secs => %(seconds)s)
   FOR UPDATE SKIP LOCKED
"""
# The latest order of each patient that says something that was not noted.
ORDERS: Final = """
SELECT DISTINCT ON (item.issuer, item.patient_id) item.issuer, item.patient_id AS number, item.name, item.birth_date,
       item.sex, item.updated_at, item.attributes -> '00101002' AS others, item.attributes -> '00101000' AS other_ids,
       item.attributes -> '00102154' AS phones
  FROM worklist_item AS item
  LEFT JOIN identity_record AS record ON record.issuer = item.issuer AND record.identity = item.patient_id
  LEFT JOIN identity_claim AS claim ON claim.record_id = record.id AND claim.source = 'worklist'
 WHERE item.updated_at > now() - make_interval(secs => %(seconds)s) AND item.patient_id <> '' AND item.issuer <> ''
   AND (claim.said_at IS NULL OR claim.said_at < item.updated_at)
 ORDER BY item.issuer, item.patient_id, item.updated_at DESC LIMIT %(most)s
"""
