"""The statements by which decisions to share become grants."""

from __future__ import annotations

from typing import Final

# Whoever is let in by a decision gets each of its studies that is not their own. What was withdrawn stays so: its row
# is still there. A study that comes later gets its grant when `archive.sharing.care` has looked at it.
SPREAD: Final = """
INSERT INTO access_grant (study_id, facility_id, account_id, kind, sharing_id, purpose, may_copy, granted_by,
                          expires_at)
SELECT about.study_id, member.facility_id, member.account_id, sharing.kind, sharing.id, sharing.purpose,
       sharing.may_copy, sharing.opened_by, sharing.expires_at
  FROM sharing JOIN sharing_member AS member ON member.sharing_id = sharing.id
  JOIN LATERAL (
      SELECT study_id FROM sharing_study WHERE sharing_id = sharing.id
      UNION
      SELECT study.id FROM study
       WHERE study.patient_id = sharing.patient_id AND study.quarantine = ''
         AND (study.facility_id IS NOT DISTINCT FROM sharing.facility_id) = (sharing.kind = 'referral')
  ) AS about ON true
  JOIN study ON study.id = about.study_id
 WHERE sharing.closed_at IS NULL AND sharing.expires_at > now()
   AND member.facility_id IS DISTINCT FROM study.facility_id
   AND {which}
ON CONFLICT DO NOTHING
RETURNING study_id
"""
OF_ONE: Final = SPREAD.format(which="sharing.id = :sharing")
OF_PATIENTS: Final = SPREAD.format(which="sharing.patient_id = ANY(%(patients)s)")

OPEN: Final = """
INSERT INTO sharing (ticket, kind, facility_id, title, purpose, may_copy, patient_id, opened_by, opened_by_name,
                     expires_at)
VALUES (:ticket, :kind, (SELECT id FROM facility WHERE code = :facility), :title, :purpose, :may_copy, :patient,
        :account, :name, now() + make_interval(secs => :seconds))
ON CONFLICT (ticket) DO UPDATE SET ticket = EXCLUDED.ticket
RETURNING id
"""
ADD_FACILITIES: Final = """
INSERT INTO sharing_member (sharing_id, facility_id)
SELECT :sharing, id FROM facility WHERE code = ANY(:facilities) ON CONFLICT DO NOTHING
"""
ADD_ACCOUNTS: Final = """
INSERT INTO sharing_member (sharing_id, account_id)
SELECT :sharing, id FROM account WHERE name = ANY(:accounts) ON CONFLICT DO NOTHING
"""
ADD_STUDIES: Final = """
INSERT INTO sharing_study (sharing_id, study_id, added_by_name)
SELECT :sharing, id, :name FROM study WHERE id = ANY(:studies) ON CONFLICT DO NOTHING
"""
ACCOUNTS: Final = "SELECT name FROM account WHERE enabled AND kind = 'account' AND name = ANY(:accounts)"

# Only what is shown to those who treat patients can be shared, and only by whoever may share it for its owner.
OWN_STUDIES: Final = """
SELECT study.id, study.study_instance_uid, study.patient_id, facility.code, patient.patient_id AS identity,
       patient.issuer
  FROM study JOIN facility ON facility.id = study.facility_id JOIN patient ON patient.id = study.patient_id
 WHERE study_instance_uid = ANY(:studies) AND quarantine = '' AND instance_count > 0
   AND (CAST(:scope AS text[]) IS NULL OR facility.code = ANY(CAST(:scope AS text[])))
"""

_SEEN: Final = """
       (CAST(:scope AS text[]) IS NULL
        OR home.code = ANY(CAST(:scope AS text[]))
        OR EXISTS (SELECT FROM sharing_member AS member LEFT JOIN facility ON facility.id = member.facility_id
                    WHERE member.sharing_id = sharing.id
                      AND (facility.code = ANY(CAST(:scope AS text[])) OR member.account_id = :account))
        OR sharing.opened_by = :account)
"""
LIST: Final = f"""
SELECT sharing.id, sharing.kind, sharing.title, sharing.purpose, sharing.may_copy, home.code AS facility,
       sharing.patient_id IS NOT NULL AS whole_patient, sharing.opened_by_name AS opened_by, sharing.opened_at,
       sharing.expires_at, sharing.closed_at, sharing.closed_by_name AS closed_by,
       ARRAY(SELECT facility.code FROM sharing_member AS member JOIN facility ON facility.id = member.facility_id
              WHERE member.sharing_id = sharing.id ORDER BY 1) AS facilities,
       ARRAY(SELECT name FROM sharing_name WHERE sharing_name.sharing_id = sharing.id ORDER BY 1) AS accounts,
       ARRAY(SELECT DISTINCT study.study_instance_uid FROM access_grant JOIN study ON study.id = access_grant.study_id
              WHERE access_grant.sharing_id = sharing.id AND withdrawn_at IS NULL
             UNION
             SELECT study.study_instance_uid FROM sharing_study JOIN study ON study.id = sharing_study.study_id
              WHERE sharing_study.sharing_id = sharing.id ORDER BY 1) AS studies
  FROM sharing LEFT JOIN facility AS home ON home.id = sharing.facility_id
 WHERE {_SEEN}
   AND (CAST(:kind AS text) IS NULL OR sharing.kind = :kind)
   AND (CAST(:id AS bigint) IS NULL OR sharing.id = :id)
   AND (:closed OR (sharing.closed_at IS NULL AND sharing.expires_at > now()))
 ORDER BY sharing.id DESC LIMIT :limit OFFSET :offset
"""  # noqa: S608
CLOSE: Final = """
WITH closed AS (
    UPDATE sharing SET closed_at = now(), closed_by_name = :name WHERE id = :sharing AND closed_at IS NULL
)
UPDATE access_grant SET withdrawn_at = now() WHERE sharing_id = :sharing AND withdrawn_at IS NULL
"""

GRANTS: Final = """
SELECT access_grant.id, access_grant.kind, access_grant.purpose, access_grant.may_copy,
       access_grant.sharing_id AS sharing, owner.code AS facility, study.study_instance_uid AS study,
       grantee.code AS to_facility, grant_name.to_account, access_grant.link_id AS to_link,
       grant_name.granted_by, access_grant.granted_at, access_grant.expires_at, access_grant.withdrawn_at
  FROM access_grant JOIN study ON study.id = access_grant.study_id
  JOIN facility AS owner ON owner.id = study.facility_id
  LEFT JOIN facility AS grantee ON grantee.id = access_grant.facility_id
  LEFT JOIN grant_name ON grant_name.id = access_grant.id
 WHERE (CAST(:scope AS text[]) IS NULL OR owner.code = ANY(CAST(:scope AS text[])))
   AND (CAST(:study AS text) IS NULL OR study.study_instance_uid = :study)
   AND (CAST(:id AS bigint) IS NULL OR access_grant.id = :id)
   AND (:ended OR (access_grant.withdrawn_at IS NULL AND access_grant.expires_at > now()))
 ORDER BY access_grant.id DESC LIMIT :limit OFFSET :offset
"""
WITHDRAW: Final = "UPDATE access_grant SET withdrawn_at = now() WHERE id = :id AND withdrawn_at IS NULL RETURNING id"

# -- patients under care ---------------------------------------------------------------------------------------------

# Rows of patients that are one person: with these, all that the archive has linked by a strong number or somebody's
# decision (``patient_person``). A pair on the review list is no link, so it opens nothing.
_SAME_PERSON: Final = """
    SELECT patient.id AS patient_id, coalesce(person_id, -patient.id) AS person
      FROM patient LEFT JOIN patient_person ON patient_person.patient_id = patient.id
     WHERE patient.id = ANY(%(patients)s)
    UNION
    SELECT theirs.patient_id, theirs.person_id
      FROM patient_person AS mine JOIN patient_person AS theirs ON theirs.person_id = mine.person_id
     WHERE mine.patient_id = ANY(%(patients)s)
"""

# Who got a study of the person lately, or has an order for them.
_CARING: Final = """
    SELECT patient_id, facility_id, max(until) AS until FROM (
        SELECT study.patient_id, study.facility_id, study.created_at + make_interval(days => %(days)s) AS until
          FROM study JOIN same ON same.patient_id = study.patient_id WHERE study.quarantine = ''
        UNION ALL
        SELECT patient.id, item.facility_id, item.start_date + make_interval(days => %(days)s)
          FROM same JOIN patient ON patient.id = same.patient_id
          JOIN worklist_item AS item ON item.patient_id = patient.patient_id AND item.issuer = patient.issuer
         WHERE item.status <> 'CANCELLED' AND item.start_date <= current_date + 7
        UNION ALL
        SELECT same.patient_id, item.facility_id, item.start_date + make_interval(days => %(days)s)
          FROM same JOIN identity_record AS record ON record.person_id = same.person AND record.patient_id IS NULL
          JOIN worklist_item AS item ON item.patient_id = record.identity AND item.issuer = record.issuer
         WHERE item.status <> 'CANCELLED' AND item.start_date <= current_date + 7
    ) AS reason WHERE until > now() GROUP BY patient_id, facility_id
"""
CARE: Final = f"""
WITH same AS ({_SAME_PERSON}), caring AS ({_CARING}), given AS (
    INSERT INTO access_grant (study_id, facility_id, kind, purpose, expires_at)
    SELECT study.id, caring.facility_id, 'care', '', max(caring.until)
      FROM caring JOIN same AS theirs ON theirs.patient_id = caring.patient_id
      JOIN same AS others ON others.person = theirs.person
      JOIN patient ON patient.id = others.patient_id
      JOIN study ON study.patient_id = others.patient_id
     WHERE study.quarantine = '' AND study.facility_id <> caring.facility_id AND patient.patient_id <> ''
       AND caring.facility_id <> ALL (ARRAY(SELECT id FROM facility WHERE code = %(nobody)s))
       AND study.facility_id <> ALL (ARRAY(SELECT id FROM facility WHERE code = %(nobody)s))
     GROUP BY study.id, caring.facility_id
    ON CONFLICT (study_id, facility_id) WHERE kind = 'care'
    DO UPDATE SET expires_at = EXCLUDED.expires_at
     WHERE access_grant.withdrawn_at IS NULL AND access_grant.expires_at < EXCLUDED.expires_at
    RETURNING study_id, facility_id, (xmax = 0) AS is_new
)
SELECT given.facility_id, viewer.code AS to_facility, patient.id AS patient, patient.patient_id AS identity,
       patient.issuer, array_agg(study.study_instance_uid ORDER BY study.id) AS studies,
       array_agg(DISTINCT study.facility_id) AS owners
  FROM given JOIN study ON study.id = given.study_id JOIN patient ON patient.id = study.patient_id
  JOIN facility AS viewer ON viewer.id = given.facility_id
 WHERE given.is_new GROUP BY given.facility_id, viewer.code, patient.id
"""  # noqa: S608
NOTIFY_OF_CARE: Final = """
INSERT INTO access_notice (kind, facility_id, to_facility_id, patient_id)
SELECT 'care', owner, %(to)s, %(patient)s FROM unnest(%(owners)s::bigint[]) AS owner ON CONFLICT DO NOTHING
"""
# An order is committed some time after the moment that it carries. It may be for a person of whom only others have
# images.
PATIENTS_OF_ORDERS: Final = """
WITH item AS (
    SELECT DISTINCT patient_id, issuer FROM worklist_item
     WHERE updated_at > now() - make_interval(secs => %(seconds)s) AND patient_id <> ''
)
SELECT array_agg(DISTINCT patient) FROM (
    SELECT patient.id AS patient
      FROM item JOIN patient ON patient.patient_id = item.patient_id AND patient.issuer = item.issuer
    UNION ALL
    SELECT theirs.patient_id
      FROM item JOIN identity_record AS record ON record.identity = item.patient_id AND record.issuer = item.issuer
      JOIN patient_person AS theirs ON theirs.person_id = record.person_id
) AS found
"""
# Those whose persons were changed. What a split took away was ended with it (`archive.identity.book`); here it is given
# again to those who still treat one of them.
PATIENTS_OF_PERSONS: Final = """
DELETE FROM care_due WHERE patient_id IN (
    SELECT patient_id FROM care_due ORDER BY patient_id LIMIT %(most)s FOR UPDATE SKIP LOCKED)
RETURNING patient_id
"""

# -- break-glass ------------------------------------------------------------------------------------------------------

TRY: Final = "INSERT INTO break_glass_attempt (account_id) VALUES (:account)"
TRIES: Final = """
SELECT count(*) FROM break_glass_attempt WHERE account_id = :account AND at > now() - interval '1 day'
"""
EXACTLY: Final = """
SELECT patient.id, patient.issuer FROM patient
 WHERE patient.patient_id = :patient AND patient.birth_date = :birth_date AND patient.patient_id <> ''
   AND (:issuer = '' OR patient.issuer = :issuer)
   AND EXISTS (SELECT FROM study WHERE study.patient_id = patient.id AND quarantine = '' AND instance_count > 0)
 ORDER BY patient.id
"""
NOTIFY: Final = """
INSERT INTO access_notice (kind, facility_id, to_facility_id, patient_id, sharing_id)
SELECT DISTINCT 'break_glass', study.facility_id, sharing.facility_id, sharing.patient_id, sharing.id
  FROM access_grant JOIN study ON study.id = access_grant.study_id JOIN sharing ON sharing.id = access_grant.sharing_id
 WHERE sharing.patient_id = ANY({patients}) AND sharing.kind = 'break_glass' AND {which}
ON CONFLICT DO NOTHING
"""
NOTIFY_OF_ONE: Final = NOTIFY.format(patients="ARRAY[:patient]::bigint[]", which="sharing.id = :sharing")
NOTIFY_OF_PATIENTS: Final = NOTIFY.format(patients="%(patients)s", which="sharing.expires_at > now()")

NOTICES: Final = """
SELECT notice.id, notice.kind, owner.code AS facility, viewer.code AS to_facility,
       coalesce(patient.patient_id, '') AS patient_id, coalesce(patient.issuer, '') AS issuer,
       coalesce(reason.study_instance_uid, '') AS study,
       coalesce(reason.opened_by_name, '') AS opened_by, coalesce(reason.purpose, '') AS reason,
       reason.expires_at, notice.created_at, notice.acknowledged_at, notice.acknowledged_by_name AS acknowledged_by
  FROM access_notice AS notice JOIN facility AS owner ON owner.id = notice.facility_id
  LEFT JOIN patient ON patient.id = notice.patient_id
  LEFT JOIN facility AS viewer ON viewer.id = notice.to_facility_id
  LEFT JOIN notice_reason AS reason ON reason.id = notice.id
 WHERE (CAST(:scope AS text[]) IS NULL OR owner.code = ANY(CAST(:scope AS text[])))
   AND (:acknowledged OR notice.acknowledged_at IS NULL)
 ORDER BY notice.id DESC LIMIT :limit OFFSET :offset
"""
ACKNOWLEDGE: Final = """
UPDATE access_notice SET acknowledged_at = now(), acknowledged_by_name = :name
  FROM facility WHERE facility.id = access_notice.facility_id AND access_notice.id = :id AND acknowledged_at IS NULL
   AND (CAST(:scope AS text[]) IS NULL OR facility.code = ANY(CAST(:scope AS text[])))
RETURNING access_notice.id
"""
