"""Reports: written, given out before they are signed, signed, and said otherwise by further versions.

Whoever may see a study may read what was given out about it; a draft is for the facility that writes it. Everything is
recorded before it takes effect. A change names the revision that its author has seen: of two, one is `Outdated`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select

from archive.audit.events import Action, AuditEvent
from archive.audit.looks import Looks
from archive.audit.trail import Trail
from archive.database import change, fetch, in_transaction
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted, Outdated, Unavailable
from archive.models import Study
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reading import Reader
from archive.records import EVERYTHING, Scope
from archive.reports import changing
from archive.reports import statements as sql
from archive.reports.canonical import LONGEST_SHORT, canonical, clean_text, cleaned
from archive.reports.certificates import METHOD, Certificates
from archive.reports.changing import Composed, GivingOut, Writer
from archive.reports.models import Report
from archive.reports.records import Author, Entry, Event, Version, Written
from archive.reports.signature import SignatureCheck, Signatures
from archive.reports.subject import subject_of
from archive.reports.templates import Library
from archive.reports.unread import Reading
from archive.reports.writers import Writers
from config.reports import ReportSettings

_NOT_SIGNED: Final = ("draft", "preliminary")
Work = Callable[[Connection, Row[Any], str], None]


class Reports:
    """All reports of the archive. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, reader: Reader, trail: Trail, looks: Looks, settings: ReportSettings) -> None:
        self._engine = engine
        self._reader = reader
        self._trail = trail
        self._looks = looks
        self._settings = settings
        known = settings.signature_authorities
        self._signatures = Signatures(
            {METHOD: Certificates(known)} if known else {}, required=settings.signature_required
        )
        self.writers = Writers(engine, reader, settings)
        try:
            methods: dict[str, SignatureCheck] = {METHOD: Certificates(known)} if known else {}
            self.templates = Library(settings.templates)
        except ValueError as error:
            raise Unavailable(f"reports cannot be written: {error}") from None
        self._signatures = Signatures(methods, required=settings.signature_required)
        self.reading = Reading(reader, settings)
        self.on_signed: Callable[[], None] = lambda: None
        """Called when there are objects to be made."""

    # -- reading -----------------------------------------------------------------------------------------------------

    def get(self, caller: Caller, number: str) -> Entry:
        """One report. Raises `NotFound`."""
        found = self.entries(caller.scope(), _drafts_of(caller), lambda entries: entries.where(Report.number == number))
        if not found or (caller.kind is Kind.LINK and found[0].status in _NOT_SIGNED):
            raise NotFound("no such report")
        return found[0]

    def of_study(self, caller: Caller, study: str) -> list[Entry]:
        """The reports on a study, in the order in which they were begun. Holders of links get signed ones."""
        found = self.entries(
            caller.scope(),
            _drafts_of(caller),
            lambda entries: entries.where(Study.study_instance_uid == study).order_by(Report.id),
        )
        return [each for each in found if caller.kind is not Kind.LINK or each.status not in _NOT_SIGNED]

    def history(self, caller: Caller, number: str) -> list[Version]:
        """All versions that were given out, the first one first. Raises `NotFound`."""
        if self.get(caller, number).version is None:
            return []
        rows = self._reader.fetch(caller.scope(), sql.versions(caller.scope(), number))
        found = [changing.version_of(row) for row in rows]
        return [each for each in found if caller.kind is not Kind.LINK or each.status not in _NOT_SIGNED]

    def by_id(self, report: int, scope: Scope = EVERYTHING) -> Entry:
        """The report of an event, without its draft; for the archive's own work. Raises `NotFound`."""
        found = self.entries(scope, [], lambda entries: entries.where(Report.id == report))
        if not found:
            raise NotFound("no such report")
        return found[0]

    def version(self, report: int, number: int) -> Version:
        """A version of a report by its row, whoever asks. Raises `NotFound`."""
        rows = fetch(self._engine, sql.VERSION, {"report": report, "number": number})
        if not rows:
            raise NotFound("no such version")
        return changing.version_of(rows[0])

    def subject(self, entry: Entry) -> dict[str, Any]:
        """Of whom a report that the caller has got would speak if it were given out now. Raises `NotFound`."""

        def work(connection: Connection) -> dict[str, Any]:
            row = connection.execute(sql.PLACE, {"number": entry.number}).one_or_none()
            if row is None:
                raise NotFound("no such report")
            return subject_of(connection, row.study_id, row.facility_id)

        return in_transaction(self._engine, work)

    def events(self, after: int, most: int = 500) -> list[Event]:
        """Versions given out, in their order, behind the event with this number. None ever appears before one read."""
        return [Event(**row._mapping) for row in fetch(self._engine, sql.EVENTS, {"after": after, "most": most})]

    # -- writing -----------------------------------------------------------------------------------------------------

    def create(
        self,
        caller: Caller,
        study: str,
        written: Written | None = None,
        *,
        author: Author | None = None,
        another: bool = False,
        source: str = "page",
    ) -> Entry:
        """Begin a report on a study.

        Raises `NotFound`, `NotPermitted`, `InvalidItem`; `Conflict` if one's facility has one, unless `another`.
        """
        place = self.writers.place(caller, study)
        writer, composed = self._writer(caller, author), self._composed(place.code, written or Written())
        number, ticket = str(uuid.uuid4()), uuid.uuid4().hex
        self._record(caller, study, number, "created")

        def work(connection: Connection) -> None:
            if connection.execute(sql.LOCK, {"number": number}).one_or_none() is not None:
                return  # done before the connection was lost
            connection.execute(sql.LOCK_STUDY, {"study": place.study})
            given = {"study": place.study, "facility": place.facility}
            there = connection.execute(sql.OPEN, given).scalar()
            if there is not None and not another:
                raise Conflict(f"there is a report of this facility on this study: {there}")
            values = {**given, "number": number, "ticket": ticket, "source": source, "external": None}
            report = connection.execute(sql.ADD, values).scalar_one()
            changing.add_draft(connection, report, composed, writer)

        in_transaction(self._engine, work)
        return self.get(caller, number)

    def save(
        self, caller: Caller, number: str, revision: int, written: Written, *, author: Author | None = None
    ) -> Entry:
        """Write what the draft is to say. What was given out before signing is gone on from in a new draft.

        Raises `NotFound`, `NotPermitted`, `InvalidItem`, `Outdated`, `Conflict` for what is signed: `amend` that.
        """
        writer = self._writer(caller, author)
        composed = self._composed(self.get(caller, number).facility, written)

        def work(connection: Connection, row: Row[Any], ticket: str) -> None:
            if not changing.save_draft(connection, row.id, composed, writer):
                if row.status != "preliminary":
                    raise Conflict("this report is signed: what is to be said otherwise needs a reason")
                changing.add_draft(connection, row.id, composed, writer)
            connection.execute(sql.TOUCH, {"report": row.id, "ticket": ticket})

        return self._change(caller, number, revision, "", work)

    def give_out(self, caller: Caller, number: str, revision: int, *, author: Author | None = None) -> Entry:
        """Let others read it before it is signed (preliminary). Raises as `save`, and `InvalidItem` if it is empty."""
        writer = self._writer(caller, author)

        def work(connection: Connection, row: Row[Any], ticket: str) -> None:
            if row.status not in _NOT_SIGNED:
                raise Conflict("this report is signed")
            giving = GivingOut("preliminary", writer, datetime.now(UTC), self._signatures)
            version = changing.give_out(connection, number, row, giving)
            changing.finish(connection, row, ticket, "preliminary", version, None)

        return self._change(caller, number, revision, "preliminary", work)

    def sign(
        self,
        caller: Caller,
        number: str,
        revision: int,
        *,
        author: Author | None = None,
        signature: dict[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Entry:
        """Sign what is written. It can never be changed or unsigned. Raises as `give_out`.

        `at` is when that was, where it was not now: only of what is taken over from elsewhere, such as the demo's past.
        """
        writer = self._writer(caller, author, signing=True)

        def work(connection: Connection, row: Row[Any], ticket: str) -> None:
            first = row.status in _NOT_SIGNED
            drafted = connection.execute(sql.DRAFT_OF, {"report": row.id}).one_or_none()
            if drafted is None and row.status == "preliminary":
                changing.copy_current(connection, row, writer, "")
            if first:
                self._check_readers(connection, row, writer)
            when = at or datetime.now(UTC)
            status = "final" if first else "amended"
            giving = GivingOut(status, writer, when, self._signatures, signature)
            version = changing.give_out(connection, number, row, giving)
            changing.finish(connection, row, ticket, status, version, when)

        return self._change(caller, number, revision, "signed", work)

    def to_sign(self, caller: Caller, number: str, *, author: Author | None = None) -> bytes:
        """The text that an electronic signature of the draft would sign. Raises as `sign`."""
        entry, writer = self.get(caller, number), self._writer(caller, author, signing=True)
        if entry.draft is None:
            raise Conflict("nothing is being written in this report now")
        caller.require(Right.REPORT, entry.facility)
        return canonical(number, changing.by(entry.draft, writer), self.subject(entry))

    def amend(self, caller: Caller, number: str, revision: int, reason: str, *, author: Author | None = None) -> Entry:
        """Begin another version of a signed report, which takes its place when it is signed. Raises as `save`."""
        writer, why = self._writer(caller, author), _reason(reason)

        def work(connection: Connection, row: Row[Any], ticket: str) -> None:
            _require_signed(row)
            if connection.execute(sql.DRAFT_OF, {"report": row.id}).one_or_none() is not None:
                raise Conflict("another version is being written already")
            changing.copy_current(connection, row, writer, why)
            connection.execute(sql.TOUCH, {"report": row.id, "ticket": ticket})

        return self._change(caller, number, revision, "amendment begun", work)

    def addend(
        self,
        caller: Caller,
        number: str,
        revision: int,
        text: str,
        reason: str,
        *,
        author: Author | None = None,
        signature: dict[str, Any] | None = None,
    ) -> Entry:
        """Add something to a signed report, which stays as it is; this is signed at once. Raises as `sign`."""
        writer, why, added = self._writer(caller, author, signing=True), _reason(reason), clean_text(text)
        if not 0 < len(added) <= LONGEST_SHORT * 16:
            raise InvalidItem.of({"text": "is needed, with at most 16384 characters"})

        def work(connection: Connection, row: Row[Any], ticket: str) -> None:
            _require_signed(row)
            if connection.execute(sql.DRAFT_OF, {"report": row.id}).one_or_none() is not None:
                raise Conflict("another version is being written: it can say this, too")
            at = datetime.now(UTC)
            current = changing.copy_current(connection, row, writer, why)
            own = {"author_name": writer.author.name, "author_licence": writer.author.licence, "reason": why}
            item = {"text": added, "at": at.isoformat(timespec="seconds"), **own}
            changing.set_addenda(connection, row.id, [*current.addenda, item])
            giving = GivingOut("addendum", writer, at, self._signatures, signature)
            version = changing.give_out(connection, number, row, giving)
            changing.finish(connection, row, ticket, "addendum", version, at)

        return self._change(caller, number, revision, "addendum", work)

    def cancel(self, caller: Caller, number: str, revision: int, reason: str, *, author: Author | None = None) -> Entry:
        """Say that a report that was given out does not hold. It stays to be read as such. Raises as `sign`."""
        writer, why = self._writer(caller, author, signing=True), _reason(reason)

        def work(connection: Connection, row: Row[Any], ticket: str) -> None:
            if row.status in ("draft", "cancelled"):
                raise Conflict("this report was not given out, or is cancelled already")
            connection.execute(sql.DROP_DRAFT, {"report": row.id})
            changing.copy_current(connection, row, writer, why)
            at = datetime.now(UTC)
            plain = Signatures({}, required=False)
            version = changing.give_out(connection, number, row, GivingOut("cancelled", writer, at, plain))
            changing.finish(connection, row, ticket, "cancelled", version, None)

        return self._change(caller, number, revision, "cancelled", work)

    def discard(self, caller: Caller, number: str, revision: int) -> None:
        """Throw a draft away; what was given out stays. Raises as `save`."""
        entry = self._writable(caller, number, revision)
        self._record(caller, entry.study, number, "draft discarded")
        ticket = uuid.uuid4().hex

        def work(connection: Connection) -> None:
            row = connection.execute(sql.LOCK, {"number": number}).one_or_none()
            if row is None or row.ticket == ticket:
                return
            _require_seen(row, revision)
            connection.execute(sql.DROP_DRAFT, {"report": row.id})
            if row.status == "draft":
                connection.execute(sql.DROP, {"report": row.id})
            else:
                connection.execute(sql.TOUCH, {"report": row.id, "ticket": ticket})

        in_transaction(self._engine, work)

    def set_licence(self, by: Caller, account: int, licence: str) -> None:
        """Note the number of somebody's practising licence. Raises `InvalidItem`."""
        known = clean_text(licence)
        if not 0 < len(known) <= 64 or "\n" in known:
            raise InvalidItem.of({"licence": "is needed, with at most 64 characters"})
        detail: dict[str, Any] = {"change": "practising licence", "account": str(account), "licence": known}
        self._trail.record(AuditEvent(Action.ACCOUNT, by, detail=detail))
        change(self._engine, sql.SET_LICENCE, {"account": account, "licence": known, "by": by.name}, repeatable=True)

    # -- parts -------------------------------------------------------------------------------------------------------

    def entries(
        self, scope: Scope, drafts: list[str] | None, narrow: Callable[[Select[Any]], Select[Any]]
    ) -> list[Entry]:
        """Those of a scope, narrowed down; of which drafts are shown `drafts` says, None for all."""
        rows = self._reader.fetch(scope, narrow(sql.entries(scope)), {sql.WRITING: drafts})
        return [changing.entry_of(row) for row in rows]

    def _writer(self, caller: Caller, author: Author | None, *, signing: bool = False) -> Writer:
        return Writer(caller.name, self.writers.author(caller, author, signing=signing))

    def _composed(self, facility: str, written: Written) -> Composed:
        templates = self.templates.of(facility)
        clean = templates.spelt_out(cleaned(written))
        return Composed(clean, templates.description(clean))

    def _writable(self, caller: Caller, number: str, revision: int) -> Entry:
        entry = self.get(caller, number)
        caller.require(Right.REPORT, entry.facility)
        self.writers.place(caller, entry.study)
        if entry.revision != revision:
            raise Outdated("somebody else has changed this report meanwhile")
        return entry

    def _change(self, caller: Caller, number: str, revision: int, what: str, work: Work) -> Entry:
        """Do the work in one transaction on the locked report. What is to be recorded by itself says `what`."""
        entry = self._writable(caller, number, revision)
        self._record(caller, entry.study, number, what)
        ticket = uuid.uuid4().hex

        def locked(connection: Connection) -> None:
            row = connection.execute(sql.LOCK, {"number": number}).one_or_none()
            if row is None:
                raise NotFound("no such report")
            if row.ticket == ticket:
                return  # done before the connection was lost
            _require_seen(row, revision)
            work(connection, row, ticket)

        in_transaction(self._engine, locked)
        found = self.get(caller, number)
        if found.status not in _NOT_SIGNED:
            self.on_signed()
        return found

    def _check_readers(self, connection: Connection, row: Row[Any], writer: Writer) -> None:
        if not self._settings.two_readers:
            return
        current = connection.execute(sql.VERSION, {"report": row.id, "number": row.version}).one_or_none()
        if current is None or current.status != "preliminary" or current.author == writer.login:
            raise NotPermitted("two people read here: somebody else has to give out a preliminary version first")

    def _record(self, caller: Caller, study: str, number: str, what: str) -> None:
        """Drafts are saved every few seconds: that is one look of some minutes."""
        detail: dict[str, Any] = {"what": f"report {what or 'written'}", "report": number}
        event = AuditEvent(Action.REPORT, caller, studies=(study,), detail=detail)
        if what:
            self._trail.record(event)
        else:
            self._looks.note(event, about=f"report {number}")


def _drafts_of(caller: Caller) -> list[str] | None:
    """Codes of the facilities whose drafts the caller sees; None for all."""
    where = caller.rights.get(Right.REPORT, frozenset())
    if caller.kind is Kind.LINK:
        return []
    return None if where is None else sorted(where)


def _reason(reason: str) -> str:
    found = clean_text(reason)
    if not 0 < len(found) <= LONGEST_SHORT:
        raise InvalidItem.of({"reason": f"is needed, with at most {LONGEST_SHORT} characters"})
    return found


def _require_signed(row: Row[Any]) -> None:
    if row.status not in ("final", "amended"):
        raise Conflict("this report is not signed, or is cancelled")


def _require_seen(row: Row[Any], revision: int) -> None:
    if row.revision != revision:
        raise Outdated("somebody else has changed this report meanwhile")
