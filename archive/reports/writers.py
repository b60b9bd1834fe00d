"""Who may write a report on a study, for which facility, and under whose name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from archive.access import visible
from archive.database import fetch
from archive.errors import InvalidItem, NotFound, NotPermitted
from archive.models import Facility, Study
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reading import Reader
from archive.reports import statements as sql
from archive.reports.canonical import clean_text
from archive.reports.records import Author
from config.reports import ReportSettings

_PROGRAMS = (Kind.SERVICE, Kind.PEER, Kind.SYSTEM)


@dataclass(frozen=True, slots=True)
class Place:
    """Rows of the study and of the facility that reports on it."""

    study: int
    facility: int
    code: str
    tele: bool
    """The study is another facility's."""


class Writers:
    """Decides it."""

    def __init__(self, engine: Engine, reader: Reader, settings: ReportSettings) -> None:
        self._engine = engine
        self._reader = reader
        self._settings = settings

    def place(self, caller: Caller, study: str) -> Place:
        """For which facility the caller reports on this study. Raises `NotFound`, `NotPermitted`.

        The owner's own people do so for the owner. Others only where the study was referred to them, or where they are
        consulted about it, as long as that holds, and if the settings allow tele-reading.
        """
        caller.require(Right.REPORT)
        scope = caller.scope()
        rows = self._reader.fetch(
            scope,
            select(Study.id, Facility.id.label("facility"), Facility.code)
            .join(Facility, Facility.id == Study.facility_id)
            .where(Study.study_instance_uid == study, Study.quarantine == "", visible(scope)),
        )
        if not rows:
            raise NotFound("no such study")
        if caller.may(Right.REPORT, rows[0].code):
            return Place(rows[0].id, rows[0].facility, rows[0].code, tele=False)
        code = self._asked(caller, rows[0].id) if self._settings.tele_reading else None
        if code is None:
            raise NotPermitted("another facility's study is reported on where it was referred, or in a consultation")
        return Place(rows[0].id, fetch(self._engine, sql.FACILITY, {"code": code})[0][0], code, tele=True)

    def may_write(self, caller: Caller, study: str) -> bool:
        """Whether `place` would find one, and the caller is somebody."""
        if not caller.may(Right.REPORT) or caller.kind not in (Kind.ACCOUNT, *_PROGRAMS):
            return False
        try:
            self.place(caller, study)
        except (NotFound, NotPermitted):
            return False
        return True

    def licence(self, account: int | None) -> str:
        """The number of an account's practising licence, as far as it is known."""
        rows = fetch(self._engine, sql.ACCOUNT, {"account": account})
        return str(rows[0].licence) if rows else ""

    def author(self, caller: Caller, given: Author | None, *, signing: bool) -> Author:
        """Under whose name the caller writes. Raises `NotPermitted`, `InvalidItem`.

        People write under their own; programs say whose word it is.
        """
        if caller.kind is Kind.ACCOUNT:
            if given is not None:
                raise InvalidItem.of({"author": "is whoever has signed in"})
            row: Any = fetch(self._engine, sql.ACCOUNT, {"account": caller.account})[0]
            author = Author(row.display_name or caller.name, row.licence)
            if signing and self._settings.licence_required and not author.licence:
                raise InvalidItem.of({"licence": "is needed to sign: the number of your practising licence"})
            return author
        if caller.kind not in _PROGRAMS:
            raise NotPermitted("a report is written by somebody who has signed in")
        if given is None or not clean_text(given.name):
            raise InvalidItem.of({"author": "is needed: whose word the report is"})
        if max(len(given.name), len(given.licence)) > 255:
            raise InvalidItem.of({"author": "is too long"})
        return Author(clean_text(given.name), clean_text(given.licence))

    def _asked(self, caller: Caller, study: int) -> str | None:
        codes = sorted(caller.rights[Right.REPORT] or ())
        given = {"study": study, "codes": codes, "account": caller.account}
        rows = fetch(self._engine, sql.ASKED, given)
        if not rows:
            return None
        # Somebody who was asked by name reports for their own facility.
        return str(rows[0][0] or codes[0])
