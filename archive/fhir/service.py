"""Everything that is read by FHIR, under one name: `archive.core.Archive.fhir`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine, select

from archive.database import fetch
from archive.errors import InvalidQuery, NotFound
from archive.fhir import diagnostic_reports, imaging_studies, patients, service_requests
from archive.fhir.context import Context
from archive.fhir.kind import Kind
from archive.fhir.listed import LISTED, Listed, ListedParameter
from archive.fhir.ordering import Somebody
from archive.fhir.paging import Pages, Pairs, Place
from archive.fhir.parameters import Asking
from archive.fhir.search import Page, Wanted, read, referring, search, wanted
from archive.fhir.subscriptions import Subscriptions
from archive.fhir.subset import subset
from archive.fhir.terms import Json
from archive.models import Facility
from archive.people.sealing import Seal
from archive.reading import Reader
from archive.records import Scope
from config.settings import Settings

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind for kind in (diagnostic_reports.KIND, imaging_studies.KIND, patients.KIND, service_requests.KIND)
}
"""Types of resources that are searched in the index."""
_ROUNDS: Final = 3
"""How often what was included is looked at once more for ``_include:iterate``."""


@dataclass(slots=True)
class Found:
    """What a search gives."""

    matches: list[Json]
    included: list[Json] = field(default_factory=list)
    total: int | None = None
    next: str = ""
    """Token of the next page, if there is one."""
    used: Pairs = field(default_factory=list)
    ignored: tuple[str, ...] = ()
    cut: bool = False
    """More was to be included than is given."""


class Fhir:
    """Reads and searches resources."""

    def __init__(self, engine: Engine, reader: Reader, settings: Settings) -> None:
        self._engine = engine
        self._reader = reader
        self._settings = settings
        self.subscriptions = Subscriptions(engine, reader, settings.fhir)
        self._pages = Pages(Seal(settings.access.key_file or settings.data_dir / "access.key"))

    def context(self, base: str, site: str) -> Context:
        """What resources are made with, for who comes by this address. Raises `IndexUnavailable`."""
        names = {row.code: row.name for row in fetch(self._engine, select(Facility.code, Facility.name))}
        issuers = {facility.issuer: facility.code for facility in self._settings.facilities if facility.code in names}
        return Context(self._settings.fhir, base, site, names, {code: code for code in names} | issuers)

    def read(self, name: str, identifier: str, scope: Scope, context: Context) -> Json:
        """One resource. Raises `NotFound`, `IndexUnavailable`."""
        found = self._read(name, [identifier], Asking(self._reader, scope, context))
        if not found:
            raise NotFound(f"there is no such {name}")
        return found[0]

    def patient(self, key: str, scope: Scope, context: Context) -> Somebody:
        """A patient as an order names them. Raises `NotFound`, `IndexUnavailable`."""
        asking, source = Asking(self._reader, scope, context), KINDS["Patient"].source
        rows = self._reader.fetch(scope, source.statement(asking).where(source.by_ids([key])))
        if not rows or not rows[0].patient_id:
            raise NotFound("there is no such Patient, or it has no patient ID")
        row = rows[0]
        birth_date = row.birth_date.isoformat() if row.birth_date is not None else ""
        return Somebody(row.patient_id, row.issuer, row.name, birth_date, row.sex)

    def versions(self, number: str, scope: Scope, context: Context, version: int | None = None) -> list[Json]:
        """The versions of a report, the latest first; or one. Raises `NotFound`, `IndexUnavailable`."""
        found = diagnostic_reports.versions(Asking(self._reader, scope, context), number, version)
        if not found:
            raise NotFound("there is no such DiagnosticReport, or version of it")
        return found

    def search(
        self, name: str, pairs: Pairs, scope: Scope, context: Context, *, strict: bool = False, token: str = ""
    ) -> Found:
        """A page of matches, and what goes with it. Raises `InvalidQuery`, `TooManyMatches`, `IndexUnavailable`."""
        place: Place | None = None
        if token:
            pairs, place = self._pages.read(name, token)
        asking = Asking(self._reader, scope, context)
        settings = self._settings.fhir
        kind = KINDS.get(name)
        if kind is None:
            return self._listed(LISTED[name], pairs, context, place, strict=strict)
        asked = wanted(kind, pairs, strict=strict, count=settings.count, most=settings.most)
        page = search(kind, asking, asked, place)
        found = Found(page.resources, total=page.total, used=list(asked.used), ignored=asked.ignored)
        self._include(kind.name, asked, asking, found, strict=strict)
        self._finish(kind, asked, page, found)
        return found

    def _finish(self, kind: Kind | Listed, asked: Wanted, page: Page, found: Found) -> None:
        if page.place is not None:
            found.next = self._pages.token(kind.name, asked.used, page.place)
        found.matches = [
            subset(each, asked.summary, asked.elements, of_summary=kind.summary, required=kind.required)
            for each in found.matches
        ]

    def _read(self, name: str, ids: Sequence[str], asking: Asking) -> list[Json]:
        if name in LISTED:
            return [each for each in LISTED[name].make(asking.context) if each["id"] in ids]
        return read(KINDS[name], asking, ids)

    # -- what is included --------------------------------------------------------------------------------------------

    def _include(self, name: str, asked: Wanted, asking: Asking, found: Found, *, strict: bool) -> None:
        if asked.summary == "text" and (asked.include or asked.revinclude):
            raise InvalidQuery("_include does not go with _summary=text")
        seen = {_address(each) for each in found.matches}
        latest, iterated = found.matches, asked.iterated
        forward = [*self._forward(name, asked.include, found, strict=strict)]
        backward = [*self._backward(name, asked.revinclude, found, strict=strict)]
        for _ in range(_ROUNDS if forward or backward else 0):
            more = self._referred(latest, forward, asking) + self._referring(latest, backward, asking)
            latest = []
            for each in more:
                if _address(each) not in seen:
                    seen.add(_address(each))
                    latest.append(each)
            found.included += latest
            forward = [each for each in forward if ":".join(filter(None, each)) in iterated]
            backward = [each for each in backward if ":".join(each) in iterated]
            if len(found.included) > self._settings.fhir.most_included:
                found.included = found.included[: self._settings.fhir.most_included]
                found.cut = True
            if not latest or found.cut:
                return

    def _forward(
        self, name: str, asked: Iterable[str], found: Found, *, strict: bool
    ) -> Iterable[tuple[str, str, str]]:
        """Type of the source, its parameter, and the type of target or nothing."""
        for each in asked:
            kind, _, rest = each.partition(":")
            parameter, _, target = rest.partition(":")
            source = KINDS.get(kind)
            if each == "*" or (source is not None and parameter == "*"):
                for one in (source or KINDS[name]).parameters.values():
                    if one.follow is not None:
                        yield (source or KINDS[name]).name, one.name, ""
            elif source is not None and parameter in source.parameters and source.parameters[parameter].follow:
                yield kind, parameter, target
            else:
                _unknown("_include", each, found, strict=strict)

    def _backward(self, name: str, asked: Iterable[str], found: Found, *, strict: bool) -> Iterable[tuple[str, str]]:
        for each in asked:
            kind, _, rest = each.partition(":")
            parameter, _, target = rest.partition(":")
            source = KINDS.get(kind)
            known = source is not None and parameter in source.parameters
            if known and source is not None and name in source.parameters[parameter].targets and target in ("", name):
                yield kind, parameter
            else:
                _unknown("_revinclude", each, found, strict=strict)

    def _referred(self, resources: list[Json], forward: list[tuple[str, str, str]], asking: Asking) -> list[Json]:
        wanted: dict[str, dict[str, None]] = {}
        for kind, parameter, target in forward:
            follow = KINDS[kind].parameters[parameter].follow
            for each in resources:
                for reference in follow(each) if follow and each["resourceType"] == kind else ():
                    of, _, identifier = reference.partition("/")
                    if identifier and target in ("", of):
                        wanted.setdefault(of, {})[identifier] = None
        return [found for kind, ids in wanted.items() for found in self._read(kind, list(ids), asking)]

    def _referring(self, resources: list[Json], backward: list[tuple[str, str]], asking: Asking) -> list[Json]:
        most = self._settings.fhir.most_included + 1
        found: list[Json] = []
        for kind, parameter in backward:
            targets = KINDS[kind].parameters[parameter].targets
            references = [_address(each) for each in resources if each["resourceType"] in targets]
            if references:
                found += referring(KINDS[kind], asking, parameter, references, most)
        return found

    # -- what is in memory -------------------------------------------------------------------------------------------

    def _listed(self, kind: Listed, pairs: Pairs, context: Context, place: Place | None, *, strict: bool) -> Found:
        settings = self._settings.fhir
        bare = Kind(kind.name, kind.about, _NOTHING, {}, {"_id": _NO_SORT}, "_id", kind.summary, kind.required)
        known = [(name, value) for name, value in pairs if name.partition(":")[0] not in kind.parameters]
        asked = wanted(bare, known, strict=strict, count=settings.count, most=settings.most)
        terms: list[tuple[ListedParameter, str, str]] = []
        for name, value in pairs:
            head, _, modifier = name.partition(":")
            parameter = kind.parameters.get(head)
            if parameter is None or not value:
                continue
            if modifier and modifier not in (*parameter.modifiers, *parameter.targets):
                raise InvalidQuery(f"{head} has no such modifier")
            terms.append((parameter, modifier, value))
            asked.used.append((name, value))
        found = kind.found(context, asked.ids, terms)
        left = [each for each in found if place is None or each["id"] > place[0]]
        size = 0 if asked.summary == "count" else asked.count
        page = Page(left[:size], len(found), (left[size - 1]["id"],) if 0 < size < len(left) else None)
        result = Found(page.resources, total=page.total, used=asked.used, ignored=asked.ignored)
        for each in (*asked.include, *asked.revinclude):
            _unknown("_include", each, result, strict=strict)
        self._finish(kind, asked, page, result)
        return result


_NOTHING: Any = None
_NO_SORT: Any = None


def _address(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _unknown(name: str, value: str, found: Found, *, strict: bool) -> None:
    if strict:
        raise InvalidQuery(f"{name}={value[:100]!a}: there is nothing to follow")
    found.ignored = (*found.ignored, name)
    found.used = [pair for pair in found.used if not (pair[0].startswith(name) and pair[1] == value)]


def parameters_of(name: str) -> Sequence[Any]:
    """The search parameters of a type of resource, by name."""
    kind = KINDS.get(name) or LISTED[name]
    return sorted(kind.parameters.values(), key=lambda each: each.name)


def types() -> list[str]:
    """The types of resources, by name."""
    return sorted((*KINDS, *LISTED))


def sorts_of(name: str) -> list[str]:
    """What a type of resource can be ordered by."""
    return sorted(KINDS[name].sorts) if name in KINDS else ["_id"]


def includes(name: str) -> list[str]:
    """Values of ``_include`` for a type of resource."""
    kind = KINDS.get(name)
    return sorted(f"{name}:{each.name}" for each in kind.parameters.values() if each.follow is not None) if kind else []


def reverse_includes(name: str) -> list[str]:
    """Values of ``_revinclude`` for a type of resource."""
    if name not in KINDS:
        return []
    kinds = KINDS.values()
    return sorted(
        f"{kind.name}:{each.name}" for kind in kinds for each in kind.parameters.values() if name in each.targets
    )
