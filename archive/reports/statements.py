"""The statements by which reports are read and changed."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from archive.access import visible
from archive.models import CText, Facility, Study
from archive.records import Scope
from archive.reports.models import Report, ReportVersion

WRITER: Final = aliased(Facility)
OWNER: Final = aliased(Facility)
CURRENT: Final = aliased(ReportVersion)
DRAFT: Final = aliased(ReportVersion)
COLUMNS: Final = (
    *("number", "status", "template", "content", "description", "conclusion", "recommendation", "addenda"),
    *("author", "author_name", "author_licence", "reason", "subject", "issued_at", "signed_at", "signed_by"),
    *("signature", "digest", "created_at"),
)
"""Of a version."""
WRITING: Final = "report_facilities"
"""Parameter: codes of the facilities whose drafts the caller sees; null for all."""


def entries(scope: Scope) -> Select[Any]:
    """Reports that the caller sees. It takes the parameter `WRITING`, beside those of the scope."""
    codes = bindparam(WRITING, type_=ARRAY(CText))
    theirs = or_(codes.is_(None), WRITER.code == func.any(codes))
    columns: tuple[Any, ...] = (
        *(Report.id, Report.number, Study.study_instance_uid.label("study"), WRITER.code.label("facility")),
        *(OWNER.code.label("owner"), Report.status, Report.revision, Report.source, Report.external),
        *(Report.final_at, Report.created_at, Report.updated_at),
        *(getattr(CURRENT, name).label(f"current_{name}") for name in COLUMNS),
        *(getattr(DRAFT, name).label(f"draft_{name}") for name in COLUMNS),
    )
    return (
        select(*columns)
        .select_from(Report)
        .join(Study, Study.id == Report.study_id)
        .join(WRITER, WRITER.id == Report.facility_id)
        .join(OWNER, OWNER.id == Study.facility_id)
        .outerjoin(
            CURRENT,
            and_(CURRENT.report_id == Report.id, CURRENT.number == Report.version, CURRENT.status != "draft"),
        )
        .outerjoin(DRAFT, and_(DRAFT.report_id == Report.id, DRAFT.status == "draft", theirs))
        .where(visible(scope), Study.quarantine == "", or_(Report.status != "draft", theirs))
    )


def versions(scope: Scope, number: str) -> Select[Any]:
    """All versions of a report that were given out, in their order."""
    return (
        select(*(getattr(ReportVersion, name) for name in COLUMNS))
        .join(Report, Report.id == ReportVersion.report_id)
        .join(Study, Study.id == Report.study_id)
        .where(visible(scope), Study.quarantine == "", Report.number == number, ReportVersion.status != "draft")
        .order_by(ReportVersion.number)
    )


LOCK: Final = text("""
SELECT report.id, report.study_id, report.facility_id, report.status, report.version, report.revision, report.ticket,
       report.final_at FROM report WHERE number = :number FOR UPDATE
""")
PLACE: Final = text("SELECT study_id, facility_id FROM report WHERE number = :number")
LOCK_STUDY: Final = text("SELECT pg_advisory_xact_lock(5060602, CAST(:study % 2147483647 AS int))")
OPEN: Final = text("""
SELECT number FROM report WHERE study_id = :study AND facility_id = :facility AND status <> 'cancelled' LIMIT 1
""")
ADD: Final = text("""
INSERT INTO report (number, study_id, facility_id, status, source, external, ticket)
VALUES (:number, :study, :facility, 'draft', :source, :external, :ticket) RETURNING id
""")
ADD_VERSION: Final = text("""
INSERT INTO report_version (report_id, number, status, template, content, description, conclusion, recommendation,
                            addenda, author, author_name, author_licence, reason)
VALUES (:report, (SELECT coalesce(max(number), 0) + 1 FROM report_version WHERE report_id = :report), 'draft',
        :template, CAST(:content AS jsonb), :description, :conclusion, :recommendation, CAST(:addenda AS jsonb),
        :author, :author_name, :author_licence, :reason)
""")
VERSION: Final = text(f"""
SELECT id, {", ".join(COLUMNS)} FROM report_version WHERE report_id = :report AND number = :number
""")  # noqa: S608
DRAFT_OF: Final = text(f"""
SELECT id, {", ".join(COLUMNS)} FROM report_version WHERE report_id = :report AND status = 'draft'
""")  # noqa: S608
SAVE: Final = text("""
UPDATE report_version
   SET template = :template, content = CAST(:content AS jsonb), description = :description, conclusion = :conclusion,
       recommendation = :recommendation, author = :author, author_name = :author_name, author_licence = :author_licence
 WHERE report_id = :report AND status = 'draft'
""")
GIVE_OUT: Final = text("""
UPDATE report_version
   SET status = :status, author = :author, author_name = :author_name, author_licence = :author_licence,
       subject = CAST(:subject AS jsonb), issued_at = :at, signed_at = :signed_at, signed_by = :signed_by,
       signature = CAST(:signature AS jsonb), digest = :digest
 WHERE report_id = :report AND status = 'draft' RETURNING number
""")
SET: Final = text("""
UPDATE report SET status = :status, version = :version, revision = revision + 1, ticket = :ticket,
       final_at = coalesce(final_at, :final_at), updated_at = clock_timestamp() WHERE id = :report
""")
TOUCH: Final = text("""
UPDATE report SET revision = revision + 1, ticket = :ticket, updated_at = clock_timestamp() WHERE id = :report
""")
DROP_DRAFT: Final = text("DELETE FROM report_version WHERE report_id = :report AND status = 'draft'")
DROP: Final = text("DELETE FROM report WHERE id = :report")
# Whoever follows goes by the number: it is drawn under a lock that is held to the commit, so none appears late.
LOCK_EVENTS: Final = text("SELECT pg_advisory_xact_lock(5060601)")
TELL: Final = text("INSERT INTO report_event (report_id, version, kind) VALUES (:report, :version, :kind)")
QUEUE: Final = text("INSERT INTO report_object (report_id, version) VALUES (:report, :version)")
EVENTS: Final = text("""
SELECT event.id, event.report_id AS report, report.number, event.version, event.kind, event.at
  FROM report_event AS event JOIN report ON report.id = event.report_id
 WHERE event.id > :after ORDER BY event.id LIMIT :most
""")
# By which facility of theirs somebody may report on a study of others: where it was referred to them, or where they
# are consulted about it. That they treat the patient, or broke the glass, lets them look.
ASKED: Final = text("""
SELECT min(facility.code), bool_or(access_grant.account_id IS NOT NULL)
  FROM access_grant LEFT JOIN facility ON facility.id = access_grant.facility_id
 WHERE study_id = :study AND kind IN ('referral', 'consultation') AND withdrawn_at IS NULL AND expires_at > now()
   AND (facility.code = ANY(CAST(:codes AS text[])) OR access_grant.account_id = :account)
HAVING count(*) > 0
""")
FACILITY: Final = text("SELECT id FROM facility WHERE code = :code")
ACCOUNT: Final = text("""
SELECT account.display_name, coalesce(author.licence, '') AS licence
  FROM account LEFT JOIN report_author AS author ON author.account_id = account.id WHERE account.id = :account
""")
SET_LICENCE: Final = text("""
INSERT INTO report_author (account_id, licence, set_by) VALUES (:account, :licence, :by)
ON CONFLICT (account_id) DO UPDATE SET licence = EXCLUDED.licence, set_by = EXCLUDED.set_by, set_at = clock_timestamp()
""")
SET_ADDENDA: Final = text("""
UPDATE report_version SET addenda = CAST(:addenda AS jsonb) WHERE report_id = :report AND status = 'draft'
""")
