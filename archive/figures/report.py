"""The report of a month, quarter or year, in Vietnamese: what is in it, as a workbook, a page and a PDF.

The plans of the health department ask for it each quarter (docs/indicators.md).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from fpdf import FPDF
from fpdf.enums import Align, VAlign, XPos, YPos
from fpdf.fonts import FontFace

from archive.figures.files import SYSTEM, workbook
from archive.figures.indicators import MEASURES, UNITS, heading
from archive.figures.periods import shifted, title
from archive.figures.question import Answer, By, Measure, Question
from archive.figures.words import word
from archive.printing import FONT
from config.clock import VIETNAM

ReportPeriod = Literal["month", "quarter", "year"]
_TO: Final = "đến"
"""Instead of an arrow, which the font of the PDF does not have."""
_MARGIN: Final = 12
"""Millimetres."""
_TABLE: Final = (
    *(Measure.STUDIES, Measure.PATIENTS, Measure.BYTES, Measure.REPORTED, Measure.UNREAD),
    *(Measure.ORDER_TO_REPORT, Measure.ORDER_TO_REPORT_P90, Measure.DELIVERED, Measure.FILMLESS, Measure.COMPLETE),
)
_SECTIONS: Final[tuple[tuple[str, tuple[By, ...], tuple[Measure, ...]], ...]] = (
    ("Theo tháng", (By.MONTH,), _TABLE),
    ("Theo cơ sở", (By.FACILITY,), _TABLE),
    ("Theo địa bàn", (By.DISTRICT,), _TABLE),
    ("Theo cấp chuyên môn", (By.CARE_LEVEL,), _TABLE),
    ("Theo loại máy", (By.MODALITY,), _TABLE),
    ("Liên thông giữa các cơ sở", (By.FACILITY,), (
        *(Measure.CROSS_VIEWS, Measure.TELE_READ, Measure.DUPLICATES_FOUND, Measure.DUPLICATES_AVOIDED),
    )),
    ("Chất lượng dữ liệu", (By.FACILITY,), (
        *(Measure.STUDIES, Measure.DATA_RIGHT, Measure.DATA_WHOLE, Measure.DATA_CLEAN, Measure.DATA_ALIVE),
        Measure.COMPLETE,
    )),
    ("Theo bộ phận cơ thể", (By.BODY_PART,), (Measure.STUDIES, Measure.PATIENTS)),
    ("Theo giới tính và nhóm tuổi", (By.SEX, By.AGE_GROUP), (Measure.STUDIES, Measure.PATIENTS)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """A table of a report: headings, then rows of texts and numbers."""

    title: str
    answer: Answer
    named: Sequence[tuple[Any, ...]]
    """Its rows, with names instead of codes."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report says."""

    title: str
    lines: tuple[tuple[str, str], ...]
    overview: tuple[tuple[str, Any, Any, Any], ...]
    """Indicator; value of the period; of the period before; of the same period of the year before."""
    overview_titles: tuple[str, str, str, str]
    sections: tuple[Section, ...]


def compose(
    ask: Callable[[Question], Answer],
    period: ReportPeriod,
    beginning: datetime,
    made: datetime,
    names: dict[str, str],
    facilities: frozenset[str] | None = None,
) -> Report:
    """The report of one period. `names` are those of facilities, by code. Raises `IndexUnavailable`."""
    until = shifted(period, beginning, 1)
    before = shifted(period, beginning, -1)
    year_before = beginning.replace(year=beginning.year - 1)
    spans = ((beginning, until), (before, beginning), (year_before, shifted(period, year_before, 1)))
    answers = [ask(Question(tuple(MEASURES), since, end, facilities=facilities)) for since, end in spans]
    values = [answer.rows[0] if answer.rows else (None,) * len(MEASURES) for answer in answers]
    sections = []
    for heading_, by, measures in _SECTIONS:
        answer = ask(Question(measures, beginning, until, by=by, facilities=facilities))
        if answer.rows:
            sections.append(Section(heading_, answer, [_with_names(row, by, names) for row in answer.rows]))
    return Report(
        title=f"Báo cáo chỉ số hình ảnh y tế {title(period, beginning)}",
        lines=_lines(beginning, until, made, answers[0], names, facilities),
        overview=tuple(
            (f"{name.vi} ({UNITS[name.unit].vi})", values[0][number], values[1][number], values[2][number])
            for number, name in enumerate(MEASURES.values())
        ),
        overview_titles=(
            "Chỉ số",
            title(period, beginning).capitalize(),
            title(period, before).capitalize(),
            title(period, year_before).capitalize() if year_before != before else "",
        ),
        sections=tuple(sections),
    )


def _lines(
    since: datetime,
    until: datetime,
    made: datetime,
    answer: Answer,
    names: dict[str, str],
    facilities: frozenset[str] | None,
) -> tuple[tuple[str, str], ...]:
    where = "Toàn tỉnh" if facilities is None else "; ".join(names.get(code, code) for code in sorted(facilities))
    lines = [
        ("Hệ thống", SYSTEM),
        ("Phạm vi", where),
        ("Thời gian", f"từ {since:%d/%m/%Y} đến trước {until:%d/%m/%Y}"),
        ("Số liệu tính đến", f"{answer.as_of.astimezone(VIETNAM):%d/%m/%Y %H:%M}"),
        ("Lập lúc", f"{made.astimezone(VIETNAM):%d/%m/%Y %H:%M}"),
    ]
    if not answer.whole:
        lines.append(("Lưu ý", "Số liệu đang được tính lại, chưa đầy đủ."))
    return tuple(lines)


def _with_names(row: tuple[Any, ...], by: tuple[By, ...], names: dict[str, str]) -> tuple[Any, ...]:
    facilities = {code: f"{code} – {name}" for code, name in names.items()}
    told = [word(each, value, facilities, "vi") for each, value in zip(by, row, strict=False)]
    return (*told, *row[len(by) :])


# -- as files ----------------------------------------------------------------------------------------------------------


def as_xlsx(report: Report) -> bytes:
    """A workbook: the overview, and a sheet for each section."""
    sheets: dict[str, Any] = {}
    overview = [title or "Cùng kỳ" for title in report.overview_titles]
    sheets["Tổng quan"] = ((("Báo cáo", report.title), *report.lines), overview, report.overview)
    for section in report.sections:
        titles = [heading(name, "vi") for name in section.answer.columns]
        sheets[section.title] = ((("Báo cáo", report.title),), titles, section.named)
    return workbook(sheets)


def as_html(report: Report) -> str:
    """A page of its own, to be printed on A4."""
    parts = [f"<h1>{_e(report.title)}</h1>", "<dl>"]
    parts += [f"<dt>{_e(name)}</dt><dd>{_e(value)}</dd>" for name, value in report.lines]
    parts.append("</dl>")
    parts.append(_html_table("Tổng quan", report.overview_titles, report.overview, 1))
    for section in report.sections:
        titles = [heading(name, "vi") for name in section.answer.columns]
        width = len(titles) - sum(isinstance(value, int | float | None) for value in section.named[0])
        parts.append(_html_table(section.title, titles, section.named, max(1, width)))
    return _PAGE.format(title=_e(report.title), body="\n".join(parts))


def as_pdf(report: Report) -> bytes:
    """A4, landscape; tables that go on begin each page with their headings."""
    made = _Pdf(report)
    made.add_page()
    made.say(report.title, 15, 8)
    for name, value in report.lines:
        made.say(f"{name}: {value}", 7.5, 3.9)
    made.table_of("Tổng quan", report.overview_titles, report.overview)
    for each in report.sections:
        made.table_of(each.title, [heading(name, "vi") for name in each.answer.columns], each.named)
    return bytes(made.output())


class _Pdf(FPDF):
    def __init__(self, report: Report) -> None:
        super().__init__(orientation="landscape", format="A4")
        self.set_title(report.title)
        self.set_author(SYSTEM)
        self.set_lang("vi")
        self.add_font("noto", "", FONT)
        self.set_margin(_MARGIN)
        self.set_auto_page_break(True, margin=_MARGIN)

    def say(self, text: str, size: float, height: float) -> None:
        self.set_font("noto", size=size)
        self.multi_cell(0, height, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def table_of(self, title: str, titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        first = min(60.0, self.epw / 3)
        widths = [first, *[(self.epw - first) / max(1, len(titles) - 1)] * (len(titles) - 1)]
        self.ln(3)
        if self.will_page_break(25):
            # A title alone at the foot of a page names nothing.
            self.add_page()
        self.say(title, 11, 6)
        self.set_font("noto", size=7.5)
        self.set_draw_color(0x8A, 0x97, 0xA6)
        self.set_line_width(0.1)
        with self.table(
            col_widths=tuple(widths),
            text_align=(Align.L, *[Align.R] * (len(titles) - 1)),
            headings_style=FontFace(fill_color=(0xDC, 0xE6, 0xF1)),
            line_height=3.5,
            padding=(0.5, 1.6, 0.7, 1.6),
            v_align=VAlign.T,
        ) as table:
            for row in (titles, *rows):
                line = table.row()
                for value in row:
                    line.cell(_told(value).replace("→", _TO))


def _html_table(name: str, titles: Sequence[str], rows: Sequence[Sequence[Any]], texts: int) -> str:
    head = "".join(f"<th>{_e(title)}</th>" for title in titles)
    body = "".join(
        "<tr>"
        + "".join(
            f"<{'th' if n < texts else 'td'}>{_e(_told(value))}</{'th' if n < texts else 'td'}>"
            for n, value in enumerate(row)
        )
        + "</tr>\n"
        for row in rows
    )
    return f"<h2>{_e(name)}</h2>\n<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def _told(value: Any) -> str:
    """As numbers are written in Vietnam: a point between thousands, a comma before tenths."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return (f"{value:,.1f}" if isinstance(value, float) else f"{value:,}").translate(_SWAPPED)


_SWAPPED: Final = str.maketrans(",.", ".,")


def _e(text: str) -> str:
    return html.escape(text)


_PAGE: Final = """<!DOCTYPE html>
<html lang="vi"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 14px/1.45 "Noto Sans", "Segoe UI", Arial, sans-serif; margin: 1.5rem; color: #1b2733; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin-top: 1.8rem; break-after: avoid; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }} dt {{ color: #52606d; }}
dd {{ margin: 0; }} table {{ border-collapse: collapse; width: 100%; }} tr {{ break-inside: avoid; }}
th, td {{ border: 1px solid #b6c2cf; padding: .25rem .5rem; vertical-align: top; }} thead th {{ background: #e6eef7; }}
td {{ text-align: right; white-space: nowrap; }} tbody th {{ font-weight: normal; text-align: left; }}
@page {{ size: A4 landscape; margin: 12mm; }}
@media print {{ body {{ margin: 0; font-size: 9pt; }} }}
</style></head><body>
{body}
</body></html>
"""
