"""The one predicate that decides what a caller may see. Search and retrieval both add it to every statement."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, select

from archive.models import Facility, Study
from archive.records import Scope


def visible(scope: Scope) -> ColumnElement[bool]:
    """Studies that the scope covers and that have at least one instance (a parent may precede its first instance)."""
    has_instances = Study.instance_count > 0
    if scope.facilities is None:
        return has_instances
    owners = select(Facility.id).where(Facility.code.in_(sorted(scope.facilities)))
    return and_(has_instances, Study.facility_id.in_(owners))
