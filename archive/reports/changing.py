"""What happens to the rows of a report when it is written, given out, signed, or said otherwise.

All functions run within the transaction of a change, after the row of the report was locked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row

from archive.errors import Conflict, InvalidItem
from archive.reports import statements as sql
from archive.reports.canonical import canonical, digest
from archive.reports.records import Author, Entry, Version, Written
from archive.reports.signature import Signatures
from archive.reports.subject import subject_of

_OF_REPORT: Final = {"preliminary": "preliminary", "final": "final", "amended": "amended", "addendum": "amended"}
_OF_REPORT["cancelled"] = "cancelled"


@dataclass(frozen=True, slots=True)
class Composed:
    """What is written, and the description that the template makes of it."""

    written: Written
    description: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Who acts: the sign-in name, and whose word it is."""

    login: str
    author: Author


@dataclass(frozen=True, slots=True)
class GivingOut:
    """How a version is given out."""

    status: str
    writer: Writer
    at: datetime
    signatures: Signatures
    signature: dict[str, Any] | None = None


def add_draft(
    connection: Connection,
    report: int,
    composed: Composed,
    writer: Writer,
    reason: str = "",
    addenda: list[dict[str, Any]] | None = None,
) -> None:
    """A new version to write at."""
    connection.execute(
        sql.ADD_VERSION,
        {"report": report, **_values(composed, writer), "reason": reason, "addenda": _json(addenda or [])},
    )


def save_draft(connection: Connection, report: int, composed: Composed, writer: Writer) -> bool:
    """Write in place of what the draft said. False if there is no draft."""
    return bool(connection.execute(sql.SAVE, {"report": report, **_values(composed, writer)}).rowcount)


def copy_current(connection: Connection, row: Row[Any], writer: Writer, reason: str) -> Version:
    """A draft that says what the current version says, to go on from. Gives the current version."""
    current = version_of(connection.execute(sql.VERSION, {"report": row.id, "number": row.version}).one())
    composed = Composed(current.written(), current.description)
    add_draft(connection, row.id, composed, writer, reason, current.addenda)
    return current


def give_out(connection: Connection, number: str, row: Row[Any], giving: GivingOut) -> int:
    """Turn the draft into a version that is never changed again; give its number.

    Raises `Conflict` if there is none, `InvalidItem` for what is missing in it or in its signature.
    """
    found = connection.execute(sql.DRAFT_OF, {"report": row.id}).one_or_none()
    if found is None:
        raise Conflict("nothing is being written in this report now")
    draft = by(version_of(found), giving.writer)
    if giving.status != "preliminary" and not draft.conclusion:
        raise InvalidItem.of({"conclusion": "is needed to sign"})
    if not (draft.conclusion or draft.description):
        raise InvalidItem.of({"text": "is needed: the report is empty"})
    subject = subject_of(connection, row.study_id, row.facility_id)
    signed = giving.status != "preliminary"
    content = canonical(number, draft, subject)
    signature = giving.signatures.check(content, giving.signature, giving.writer.login, giving.at) if signed else None
    values = {
        "report": row.id,
        "status": giving.status,
        "author": draft.author,
        "author_name": draft.author_name,
        "author_licence": draft.author_licence,
        "subject": _json(subject),
        "at": giving.at,
        "signed_at": giving.at if signed else None,
        "signed_by": giving.writer.login if signed else "",
        "signature": _json(signature) if signature else None,
        "digest": digest(content),
    }
    version: int = connection.execute(sql.GIVE_OUT, values).scalar_one()
    _tell(connection, row.id, version, giving.status)
    return version


def by(draft: Version, writer: Writer) -> Version:
    """The draft under the name of who gives it out."""
    author = writer.author
    return replace(draft, author=writer.login, author_name=author.name, author_licence=author.licence)


def finish(
    connection: Connection, row: Row[Any], ticket: str, status: str, version: int, signed_at: datetime | None
) -> None:
    """Note at the report what was given out."""
    given = {"report": row.id, "ticket": ticket, "version": version, "final_at": signed_at}
    connection.execute(sql.SET, {**given, "status": _OF_REPORT[status]})


def set_addenda(connection: Connection, report: int, addenda: list[dict[str, Any]]) -> None:
    """Of the draft."""
    connection.execute(sql.SET_ADDENDA, {"report": report, "addenda": _json(addenda)})


def version_of(row: Row[Any], prefix: str = "") -> Version:
    """The version in these columns."""
    values = {name: getattr(row, prefix + name) for name in sql.COLUMNS}
    if values["digest"] is not None:
        values["digest"] = bytes(values["digest"])
    return Version(**values)


def entry_of(row: Row[Any]) -> Entry:
    """The report in the columns of `statements.entries`."""
    names = ("id", "number", "study", "facility", "owner", "status", "revision", "source", "external")
    times = ("final_at", "created_at", "updated_at")
    versions: dict[str, Any] = {
        "version": version_of(row, "current_") if row.current_number is not None else None,
        "draft": version_of(row, "draft_") if row.draft_number is not None else None,
    }
    return Entry(**{name: getattr(row, name) for name in (*names, *times)}, **versions)


def _values(composed: Composed, writer: Writer) -> dict[str, Any]:
    written = composed.written
    content = {"fields": dict(written.fields), "text": written.text, "codes": dict(written.codes)}
    return {
        "template": written.template,
        "content": _json(content),
        "description": composed.description,
        "conclusion": written.conclusion,
        "recommendation": written.recommendation,
        "author": writer.login,
        "author_name": writer.author.name,
        "author_licence": writer.author.licence,
    }


def _tell(connection: Connection, report: int, version: int, kind: str) -> None:
    if kind != "preliminary":
        connection.execute(sql.QUEUE, {"report": report, "version": version})
    connection.execute(sql.LOCK_EVENTS)
    connection.execute(sql.TELL, {"report": report, "version": version, "kind": kind})


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
