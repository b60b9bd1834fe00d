"""Answers as files: CSV, XLSX and Parquet. Each says what was asked, when, and of which system."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

from archive.figures.indicators import BREAKDOWNS, MEASURES, heading, is_breakdown
from archive.figures.question import Answer, By, Measure, Question
from archive.figures.words import Words, name_heading, named_breakdown, narrowed, spelled_out
from config.clock import VIETNAM

SYSTEM: Final = "Provincial PACS"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_LABELS: Final = {
    "system": ("Hệ thống", "System"),
    "question": ("Chỉ số", "Question"),
    "period": ("Từ – đến", "From – to"),
    "only": ("Chỉ gồm", "Only"),
    "facilities": ("Cơ sở", "Facilities"),
    "as_of": ("Số liệu tính đến", "Up to"),
    "made": ("Lập lúc", "Made at"),
    "suppressed": ("Số ô được che", "Cells held back"),
    "note": ("Ghi chú", "Note"),
}
_ALL: Final = ("toàn tỉnh", "the whole province")
_BUILDING: Final = ("số liệu đang được tính lại, chưa đủ", "figures are being built and not whole yet")


def header(
    question: Question, answer: Answer, made: datetime, language: str, facilities: Words
) -> list[tuple[str, str]]:
    """Lines above the table: what it is of. `facilities` are names by codes."""
    english = int(language == "en")
    until = _local(question.until)
    lines = [
        ("system", SYSTEM),
        ("question", "; ".join(heading(column, language) for column in answer.columns)),
        ("period", f"{_local(question.since)} – {until}"),
        ("only", narrowed(question.where, facilities, language)),
        ("facilities", _ALL[english] if question.facilities is None else _called(question.facilities, facilities)),
        ("as_of", _local(answer.as_of)),
        ("made", _local(made)),
        ("suppressed", str(answer.suppressed) if question.public else ""),
        ("note", "" if answer.whole else _BUILDING[english]),
    ]
    return [(_LABELS[name][english], value) for name, value in lines if value]


def _called(codes: Iterable[str], facilities: Words) -> str:
    return ", ".join(f"{code} – {facilities[code]}" if code in facilities else code for code in sorted(codes))


def described(question: Question, answer: Answer) -> dict[str, Any]:
    """An answer as JSON, with what was asked."""
    return {
        "system": SYSTEM,
        "question": {
            "measures": question.measures,
            "by": question.by,
            "since": question.since.isoformat(),
            "until": question.until.isoformat(),
            "where": {name.value: values for name, values in question.where.items()},
            "facilities": None if question.facilities is None else sorted(question.facilities),
            "public": question.public,
        },
        "columns": [_column(name) for name in answer.columns],
        "rows": list(answer.rows),
        "as_of": answer.as_of,
        "whole": answer.whole,
        "suppressed": answer.suppressed,
    }


def _column(name: str) -> dict[str, str]:
    if is_breakdown(name):
        return {"name": name, "vi": BREAKDOWNS[By(name)].vi, "en": BREAKDOWNS[By(name)].en}
    return {"name": name, **MEASURES[Measure(name)]._asdict()}


def as_csv(question: Question, answer: Answer, made: datetime, language: str, facilities: Words) -> bytes:
    """With a mark by which Excel knows that it is UTF-8; lines of the header begin with ``#``."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    for name, value in header(question, answer, made, language, facilities):
        writer.writerow([f"# {name}", _cell(value)])
    columns, rows = spelled_out(answer, facilities, language)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return ("\ufeff" + buffer.getvalue()).encode()


def as_xlsx(question: Question, answer: Answer, made: datetime, language: str, facilities: Words) -> bytes:
    """A workbook with one sheet."""
    columns, rows = spelled_out(answer, facilities, language)
    titles = [_heading(name, language) for name in columns]
    return workbook({"": (header(question, answer, made, language, facilities), titles, rows)})


def _heading(column: str, language: str) -> str:
    name = named_breakdown(column)
    return heading(column, language) if name is None else name_heading(name, language)


Sheet = tuple[Sequence[tuple[str, str]], Sequence[str], Sequence[Sequence[Any]]]
"""Lines above the table, its headings, its rows."""


def workbook(sheets: Mapping[str, Sheet]) -> bytes:
    """A sheet for each table, under its title."""
    buffer = io.BytesIO()
    # What somebody typed must not become a formula or a link.
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(buffer, options)
    bold = book.add_format({"bold": True, "bg_color": "#DCE6F1", "text_wrap": True, "valign": "top", "border": 1})
    formats = {int: book.add_format({"num_format": "#,##0"}), float: book.add_format({"num_format": "#,##0.0"})}
    for title, sheet in sheets.items():
        _sheet(book.add_worksheet(title[:31] or None), sheet, bold, formats)
    book.close()
    return buffer.getvalue()


def _sheet(sheet: Any, content: Sheet, bold: Any, formats: Mapping[type, Any]) -> None:
    lines, titles, rows = content
    for row, (name, value) in enumerate(lines):
        sheet.write_string(row, 0, name)
        sheet.write_string(row, 1, value)
    top = len(lines) + 1
    for column, name in enumerate(titles):
        sheet.write_string(top, column, name, bold)
    for row, values in enumerate(rows, top + 1):
        for column, value in enumerate(values):
            if isinstance(value, str):
                sheet.write_string(row, column, value)
            elif value is not None:
                sheet.write_number(row, column, value, formats[type(value)])
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, max(1, len(titles) - 1), 18)
    sheet.freeze_panes(top + 1, 0)
    if rows:
        sheet.autofilter(top, 0, top + len(rows), len(titles) - 1)


def as_parquet(question: Question, answer: Answer, made: datetime, language: str, facilities: Words) -> bytes:
    """Columns with their types; the header is the metadata of the schema."""
    names, rows = spelled_out(answer, facilities, language)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    arrays = [pa.array(list(values), _type(name)) for name, values in zip(names, columns, strict=True)]
    lines = {f"pacs.{name}": value for name, value in header(question, answer, made, language, facilities)}
    schema = pa.schema([(name, _type(name)) for name in names], metadata=lines)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    return bytes(sink.getvalue())


def _type(name: str) -> Any:
    if name in (By.HOUR_OF_DAY, By.DAY_OF_WEEK):
        return pa.int64()
    if is_breakdown(name) or named_breakdown(name) is not None:
        return pa.string()
    return pa.float64() if "_to_" in name else pa.int64()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return "'" + text if isinstance(value, str) and text.startswith(_FORMULA) else text


def _local(moment: datetime) -> str:
    local = moment if moment.tzinfo is None else moment.astimezone(VIETNAM)
    return local.strftime("%Y-%m-%d %H:%M")
