"""Pages that go on where the last one ended, whatever is added meanwhile; and the token that remembers it.

The token holds the whole search and the place of the last match. It is sealed: a search may name a patient, and its
address comes into logs of proxies.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any, Final

from sqlalchemy import and_, or_

from archive.errors import InvalidQuery
from archive.fhir.conditions import Condition
from archive.fhir.parameters import Key, Sort
from archive.people.sealing import CannotUnseal, Seal

Place = tuple[Any, ...]
"""Values of the keys of the last match."""
Pairs = list[tuple[str, str]]
_OWNER: Final = "fhir page"
_LONGEST: Final = 60_000
_NO_PAGE: Final = "this page is not known: begin the search again"
_KINDS: Final[dict[str, Any]] = {
    "d": date.fromisoformat,
    "m": datetime.fromisoformat,
    "t": time.fromisoformat,
    "i": int,
    "s": str,
    "n": lambda _: None,
}


def order_by(sort: Sort, descending: bool) -> list[Any]:
    """What to order by; what has no value is the smallest."""
    return [_directed(key, descending) for key in sort.keys]


def phases(sort: Sort, descending: bool, place: Place | None) -> Iterator[Condition | None]:
    """Conditions whose matches, one after the other, are all behind the place. Each can begin within the index."""
    if place is None:
        yield None
        return
    first, *rest = sort.keys
    value, *others = place
    column = first.column
    if value is None:
        yield and_(column.is_(None), _beyond(rest, others, descending))
        if not descending:
            yield column.is_not(None)
        return
    equal = and_(column == value, _beyond(rest, others, descending)) if rest else None
    strict = column < value if descending else column > value
    if equal is None:
        yield strict
    else:
        # The first comparison alone is a range of the index.
        yield and_(column <= value if descending else column >= value, or_(strict, equal))
    if first.nullable and descending:
        yield column.is_(None)


def _beyond(keys: Sequence[Key], values: Sequence[Any], descending: bool) -> Condition:
    key, value = keys[0], values[0]
    column = key.column
    ways: list[Any] = []
    if value is None:
        if not descending:
            ways.append(column.is_not(None))
        if len(keys) > 1:
            ways.append(and_(column.is_(None), _beyond(keys[1:], values[1:], descending)))
    else:
        ways.append(column < value if descending else column > value)
        if key.nullable and descending:
            ways.append(column.is_(None))
        if len(keys) > 1:
            ways.append(and_(column == value, _beyond(keys[1:], values[1:], descending)))
    return or_(*ways)


def _directed(key: Key, descending: bool) -> Any:
    if not key.nullable:
        return key.column.desc() if descending else key.column.asc()
    return key.column.desc().nulls_last() if descending else key.column.asc().nulls_first()


class Pages:
    """Makes and reads tokens."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def token(self, kind: str, search: Pairs, place: Place) -> str:
        """Where the next page begins. Raises `OSError`."""
        said = json.dumps([kind, search, [_written(value) for value in place]], ensure_ascii=False)
        sealed = self._seal.seal(zlib.compress(said.encode()), _OWNER)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, kind: str, token: str) -> tuple[Pairs, Place]:
        """The search and the place. Raises `InvalidQuery`."""
        if len(token) > _LONGEST:
            raise InvalidQuery(_NO_PAGE)
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            said = zlib.decompress(self._seal.unseal(sealed, _OWNER))
            of, search, place = json.loads(said)
            values = tuple(_KINDS[letter](value) for letter, value in place)
        except (binascii.Error, ValueError, CannotUnseal, zlib.error):
            raise InvalidQuery(_NO_PAGE) from None
        if of != kind:
            raise InvalidQuery(_NO_PAGE)
        return [(str(name), str(value)) for name, value in search], values


def _written(value: Any) -> tuple[str, Any]:
    if value is None:
        return "n", None
    if isinstance(value, datetime):
        return "m", value.isoformat()
    if isinstance(value, date):
        return "d", value.isoformat()
    if isinstance(value, time):
        return "t", value.isoformat()
    return ("i", value) if isinstance(value, int) else ("s", str(value))
