"""Statements about links."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, case, func, insert, or_, select, update

from archive.delivery.link_records import NewLink, Opened
from archive.delivery.models import Delivery, LinkSession, ShareLink
from archive.models import Facility, Patient, Study
from archive.people.caller import Caller, Where
from archive.people.roles import Right
from archive.sharing.models import AccessGrant

_HOLDS: Final = and_(ShareLink.withdrawn_at.is_(None), ShareLink.expires_at > func.now())
BY_TOKEN: Final = (
    select(
        *(ShareLink.id, ShareLink.factor, ShareLink.code_hash, ShareLink.failures, ShareLink.expires_at),
        *(ShareLink.token_digest, ShareLink.phone, ShareLink.sent_code_hash, ShareLink.sent_at),
        *(Patient.birth_date, Patient.patient_id),
    )
    .join(Patient, Patient.id == ShareLink.patient_id)
    .where(ShareLink.token_digest == bindparam("digest"), _HOLDS)
)
OF_SESSION: Final = (
    select(LinkSession.id.label("session"), ShareLink.id.label("link"), ShareLink.may_copy)
    .join(ShareLink, ShareLink.id == LinkSession.link_id)
    .where(LinkSession.secret_digest == bindparam("digest"), LinkSession.expires_at > func.now(), _HOLDS)
)


def digest_of(secret: str) -> bytes:
    # Random secrets of 128 bits and more need no slow hash.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def insert_link(
    connection: Connection, caller: Caller, values: dict[str, Any], rows: Sequence[Row[Any]], wanted: NewLink
) -> int:
    link: int = connection.execute(insert(ShareLink).values(**values).returning(ShareLink.id)).scalar_one()
    grant = {
        "link_id": link,
        "kind": "link",
        "purpose": wanted.purpose,
        "may_copy": wanted.may_copy,
        "granted_by": caller.account,
        "expires_at": values["expires_at"],
    }
    connection.execute(insert(AccessGrant), [{"study_id": row.id, **grant} for row in rows])
    given = {"mode": "qr", "delivered_by": caller.name, "link_id": link}
    connection.execute(insert(Delivery), [{"study_id": row.id, **given} for row in rows])
    return link


def withdraw_link(connection: Connection, link: int) -> None:
    now = func.now()
    for table, condition in ((ShareLink, ShareLink.id == link), (AccessGrant, AccessGrant.link_id == link)):
        connection.execute(update(table).where(condition, table.withdrawn_at.is_(None)).values(withdrawn_at=now))
    connection.execute(
        update(LinkSession).where(LinkSession.link_id == link, LinkSession.expires_at > now).values(expires_at=now)
    )


def use_code(connection: Connection, link: int, code_hash: str) -> bool:
    """Spend a one-time code; of several who have it, one succeeds."""
    used = update(ShareLink).where(ShareLink.id == link, ShareLink.sent_code_hash == code_hash)
    return bool(connection.execute(used.values(sent_code_hash="")).rowcount)


def new_sent_code(link: int, code_hash: str, wait: timedelta, most: int) -> Any:
    """Another code for a link, unless one was sent a moment ago, or too many today; gives the row's id if it may be.

    A day begins with the first message in it.
    """
    first_today = or_(ShareLink.sent_at.is_(None), ShareLink.sent_at < func.now() - timedelta(days=1))
    may_send = or_(first_today, and_(ShareLink.sent_at <= func.now() - wait, ShareLink.sent_today < most))
    return (
        update(ShareLink)
        .where(ShareLink.id == link, may_send)
        .values(
            sent_code_hash=code_hash,
            sent_at=func.now(),
            sent_today=case((first_today, 1), else_=ShareLink.sent_today + 1),
        )
        .returning(ShareLink.id)
    )


def note_opened(connection: Connection, link: int, opened: Opened, address: str) -> None:
    connection.execute(
        insert(LinkSession).values(
            link_id=link, secret_digest=digest_of(opened.secret), expires_at=opened.expires_at, address=address
        )
    )
    connection.execute(
        update(ShareLink)
        .where(ShareLink.id == link)
        .values(
            failures=0,
            first_opened_at=func.coalesce(ShareLink.first_opened_at, func.now()),
            last_opened_at=func.now(),
            times_opened=ShareLink.times_opened + 1,
        )
    )


def links_of(caller: Caller) -> Where:
    """Whose links somebody may see and end: who may share, or looks after what is shared."""
    found: frozenset[str] = frozenset()
    rights = [right for right in (Right.DELIVER, Right.GRANTS) if caller.may(right)]
    if not rights:
        caller.require(Right.DELIVER)
    for right in rights:
        where = caller.rights[right]
        if where is None:
            return None
        found |= where
    return found


def entries(where: Where) -> Any:
    studies = (
        select(func.array_agg(Study.study_instance_uid))
        .join(AccessGrant, AccessGrant.study_id == Study.id)
        .where(AccessGrant.link_id == ShareLink.id)
        .correlate(ShareLink)
        .scalar_subquery()
    )
    same = ("id", "factor", "may_copy", "made_by", "created_at", "expires_at", "withdrawn_at", "first_opened_at")
    columns: list[Any] = [getattr(ShareLink, name) for name in (*same, "times_opened", "failures")]
    statement = (
        select(
            *columns,
            studies.label("studies"),
            Patient.name.label("patient_name"),
            Patient.patient_id,
            Facility.code.label("facility"),
        )
        .join(Patient, Patient.id == ShareLink.patient_id)
        .join(Facility, Facility.id == ShareLink.facility_id)
    )
    return statement if where is None else statement.where(Facility.code.in_(sorted(where)))
