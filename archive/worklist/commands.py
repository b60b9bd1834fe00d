"""``python -m archive worklist``: orders from files, the list, and cancelling, by hand.

Names of patients are printed: the list is for the person at the terminal. Nothing of it is logged.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from archive.core import Archive
from archive.errors import Conflict, InvalidItem, InvalidQuery
from archive.worklist.attributes import FLAT
from archive.worklist.listing import ItemSearch
from archive.worklist.order import FACILITY, OPEN, STATUSES
from archive.worklist.rows import WorklistEntry
from config import clock
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]
_PAGE: Final = 500


def register(add: Add) -> None:
    """Add the commands."""
    command = add("worklist-import", _import, "Put orders from a CSV or JSON file on the worklist.")
    command.add_argument("file", type=Path, help="columns or fields are DICOM keywords; -: JSON from standard input")
    command.add_argument("--facility", help="the facility of orders that name none")
    command = add("worklist", _list, "List worklist items; by default today's that are not done.")
    command.add_argument("--date", type=date.fromisoformat, help="due on this day (YYYY-MM-DD)")
    command.add_argument("--all", action="store_true", help="of every date and status")
    command.add_argument("--facility", default="")
    command.add_argument("--status", choices=STATUSES, action="append")
    command = add("worklist-cancel", _cancel, "Take items off the worklist.")
    command.add_argument("item", type=int, nargs="+", help="its number in the list")


def _import(settings: Settings, given: argparse.Namespace) -> int:
    """Each order is a transaction of its own; those that cannot be taken are told, the others are in."""
    new = same = failed = 0
    with Archive.open(settings, application="pacs worklist") as archive:
        for place, order in _orders(given.file):
            try:
                _, created = archive.worklist.put(_with_facility(order, given.facility), source="import")
            except (InvalidItem, Conflict) as error:
                failed += 1
                print(f"{given.file}: {place}: {error}", file=sys.stderr)
                continue
            new, same = new + created, same + (not created)
    print(f"new: {new}; known before: {same}; not taken: {failed}")
    return 1 if failed else 0


def _with_facility(order: Mapping[str, Any], facility: str | None) -> dict[str, Any]:
    return {**order, FACILITY: order.get(FACILITY) or facility}


def _orders(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The orders of a file, and where each stands. Raises `InvalidQuery` for a file that cannot be read."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidQuery(f"{path} cannot be read as UTF-8 text: {error}") from None
    if path.suffix.lower() == ".csv":
        yield from _of_csv(text)
        return
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidQuery(f"{path} is no JSON: {error}") from None
    for number, order in enumerate(found if isinstance(found, list) else [found], 1):
        if not isinstance(order, dict):
            raise InvalidQuery(f"{path}: order {number} is no object")
        yield f"order {number}", order


def _of_csv(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows under a line of keywords, separated by commas or, as Excel writes it in Vietnam, by semicolons."""
    first = text.partition("\n")[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    for row in reader:
        order: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(name, str) and isinstance(value, str) and value.strip():
                order[name.strip()] = _cell(name.strip(), value.strip())
        if order:
            yield f"line {reader.line_num}", order


def _cell(name: str, value: str) -> Any:
    attribute = FLAT.get(name)
    if attribute is None:
        return value
    if attribute.vr == "DA" and value.count("/") == 2:
        # In Vietnam a date is written day first.
        day, month, year = value.split("/")
        return f"{year:0>4}{month:0>2}{day:0>2}"
    if attribute.vr == "SQ":
        parts = [*value.split("|"), "", ""][:3]
        return [dict(zip(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), parts, strict=True))]
    return [part.strip() for part in value.split("\\")] if attribute.several else value


def _list(settings: Settings, given: argparse.Namespace) -> int:
    day = None if given.all else given.date or clock.today()
    statuses = tuple(given.status or (() if given.all else OPEN))
    wanted = {"first": day, "last": day, "statuses": statuses, "facility": given.facility, "limit": _PAGE}
    with Archive.open(settings, application="pacs worklist") as archive:
        offset, total = 0, 1
        while offset < total:
            found, total = archive.worklist.search(ItemSearch(**wanted, offset=offset))
            for entry in found:
                print(_line(entry))
            offset += _PAGE
    print(f"{total} items" if total != 1 else "1 item")
    return 0


def _line(entry: WorklistEntry) -> str:
    order = entry.order()
    start = order["ScheduledProcedureStepStartDate"] + " " + order["ScheduledProcedureStepStartTime"][:4]
    stations = "/".join(order.get("ScheduledStationAETitle", ["any"]))
    who = f"{order['PatientID']}  {order['PatientName']}"
    what = f"{order['Modality']:3} {stations:16} {order.get('AccessionNumber', ''):16}"
    return f"{entry.id:>8}  {entry.facility:6} {start}  {entry.status:12} {what} {who}"


def _cancel(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs worklist") as archive:
        for item in given.item:
            archive.worklist.cancel(item)
            print(f"{item}: cancelled")
    return 0
