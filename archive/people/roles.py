"""What there is a right to, and which roles have it. The one table that every door of the archive asks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Right(StrEnum):
    """What somebody may do. Reading on a screen and taking copies away are two rights (Law 15/2023, article 69)."""

    VIEW = "view"
    """Find studies and look at their images and reports."""
    COPY = "copy"
    """Take whole objects away: download, C-MOVE and C-GET, disc, export."""
    SHARE = "share"
    """Let others see studies of one's facility: referral, consultation."""
    DELIVER = "deliver"
    """Hand a patient the results: link, disc."""
    BREAK_GLASS = "break_glass"
    """See a patient's studies of other facilities in an emergency, with a reason."""
    STORE = "store"
    """Send objects."""
    ORDERS = "orders"
    """See and change the worklist."""
    WORKITEMS = "workitems"
    """Take part in post-processing (UPS)."""
    FEED = "feed"
    """Read the change feed."""
    REJECT = "reject"
    """Reject objects, take that back, decide about the quarantine; see what is hidden."""
    GRANTS = "grants"
    """See and withdraw what a facility has shared."""
    ACCOUNTS = "accounts"
    """Make and change accounts of a facility."""
    AUDIT = "audit"
    """Ask who saw what."""
    OPERATE = "operate"
    """Look after the running system: queues, metrics."""
    PEERS = "peers"
    """Add, change and disable the DICOM peers of a facility."""
    STATISTICS = "statistics"
    """Counts, never names."""
    REPORT = "report"
    """Write and sign reports."""
    IDENTITY = "identity"
    """Decide which patients are the same person."""
    RESEARCH = "research"
    """Export de-identified copies."""


class Role(StrEnum):
    """What somebody is at a facility, or for the whole province."""

    RADIOLOGIST = "radiologist"
    CLINICIAN = "clinician"
    TECHNICIAN = "technician"
    FACILITY_ADMIN = "facility_admin"
    ANALYST = "analyst"
    """Of the health department (Sở Y tế)."""
    PROVINCE_ADMIN = "province_admin"
    SERVICE = "service"
    """A program; its account lists its rights one by one."""


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.RADIOLOGIST: frozenset(
        (
            *(Right.VIEW, Right.COPY, Right.SHARE, Right.DELIVER, Right.BREAK_GLASS),
            *(Right.STORE, Right.ORDERS, Right.WORKITEMS, Right.REPORT),
        )
    ),
    Role.CLINICIAN: frozenset((Right.VIEW, Right.SHARE, Right.DELIVER, Right.BREAK_GLASS)),
    Role.TECHNICIAN: frozenset((Right.VIEW, Right.COPY, Right.DELIVER, Right.STORE, Right.ORDERS, Right.WORKITEMS)),
    # Whoever looks after accounts and settings needs no images for it.
    Role.FACILITY_ADMIN: frozenset(
        (*(Right.ACCOUNTS, Right.PEERS, Right.GRANTS, Right.AUDIT), *(Right.REJECT, Right.STATISTICS, Right.IDENTITY))
    ),
    Role.ANALYST: frozenset((Right.STATISTICS,)),
    Role.PROVINCE_ADMIN: frozenset(
        (
            *(Right.ACCOUNTS, Right.PEERS, Right.GRANTS, Right.AUDIT, Right.OPERATE),
            *(Right.REJECT, Right.STATISTICS, Right.IDENTITY),
        )
    ),
    Role.SERVICE: frozenset(),
}

ADMINISTRATORS: Final = frozenset((Role.FACILITY_ADMIN, Role.PROVINCE_ADMIN))
"""Roles with the stricter rules for passwords and sessions."""
