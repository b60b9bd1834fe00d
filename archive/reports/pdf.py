"""A version as a PDF to be printed: what was found, and below who made this copy of it, of what, and where it can be
checked (a paper copy of an electronic document needs that).

The same version gives the same bytes, so that what is made again after a crash is the same object.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import segno
from fpdf import FPDF
from fpdf.enums import Align, TextMode, XPos, YPos

from archive.printing import FONT
from archive.reports.records import Version
from config.clock import VIETNAM

_SEXES: Final = {"M": "Nam", "F": "Nữ", "O": "Khác"}
_TITLES: Final = {
    "preliminary": "KẾT QUẢ SƠ BỘ – CHƯA KÝ",
    "amended": "KẾT QUẢ ĐÃ SỬA ĐỔI",
    "addendum": "KẾT QUẢ CÓ BỔ SUNG",
    "cancelled": "KẾT QUẢ ĐÃ HỦY – KHÔNG SỬ DỤNG",
}
_QR_SIDE: Final = 24.0
_BOLD: Final = 0.22
"""Width of the outline that makes letters bold, in millimetres."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Who makes this copy, and where it can be checked."""

    by: str
    address: str
    """Of the report; empty if the archive has no public address."""


def printed(number: str, version: Version, copy: Copy) -> bytes:
    """The PDF of a version that was given out."""
    assert version.subject is not None and version.issued_at is not None
    page = _Page(number, version, copy)
    page.add_page()
    page.head(version.subject)
    page.patient(version.subject)
    page.say("Mô tả hình ảnh", version.description)
    page.say("Kết luận", version.conclusion, strong=True)
    page.say("Đề nghị", version.recommendation)
    for each in version.addenda:
        at = datetime.fromisoformat(each["at"])
        page.say(f"Bổ sung lúc {_moment(at)} – {each['author_name']}", f"{each['text']}\n(Lý do: {each['reason']})")
    if version.reason:
        page.say("Lý do có phiên bản này", version.reason)
    page.signed(version)
    return bytes(page.output())


class _Page(FPDF):
    def __init__(self, number: str, version: Version, copy: Copy) -> None:
        super().__init__(format="A4")
        assert version.issued_at is not None
        self._number, self._version, self._copy = number, version, copy
        self.set_creation_date(version.issued_at)
        self.set_title(f"Kết quả chẩn đoán hình ảnh {number}")
        self.set_author(version.author_name)
        self.set_lang("vi")
        self.add_font("noto", "", FONT)
        self.set_margins(18, 15, 18)
        self.set_auto_page_break(True, margin=_QR_SIDE + 16)

    def head(self, subject: dict[str, Any]) -> None:
        self.line_of(subject["facility_name"].upper(), 11, strong=True, align=Align.C)
        if subject["owner"] != subject["facility"]:
            self.line_of(f"Đọc từ xa cho {subject['owner_name']}", 9, align=Align.C)
        self.ln(3)
        self.line_of("KẾT QUẢ CHẨN ĐOÁN HÌNH ẢNH", 15, strong=True, align=Align.C)
        if note := _TITLES.get(self._version.status):
            self.line_of(note, 11, strong=True, align=Align.C)
        self.ln(3)

    def patient(self, subject: dict[str, Any]) -> None:
        born = subject["birth_date"]
        when = " ".join(part for part in (_day(subject["study_date"]), subject["study_time"][:5]) if part)
        rows = (
            ("Họ và tên", " ".join(subject["patient_name"].split("=")[0].replace("^", " ").split()).upper()),
            ("Ngày sinh", f"{_day(born)}     Giới tính: {_SEXES.get(subject['sex'], '')}"),
            ("Mã người bệnh", subject["patient_id"]),
            ("Số phiếu chỉ định", subject["accession_number"]),
            ("Chỉ định", subject["procedure"]),
            ("Lâm sàng", subject["reason"]),
            ("Bác sĩ chỉ định", " – ".join(filter(None, (subject["referrer"], subject["department"])))),
            ("Thời gian chụp", when),
        )
        for name, value in rows:
            if value.strip():
                self.set_font("noto", size=10)
                self.cell(38, 5.6, f"{name}:")
                self.words(value, 5.6, strong=name == "Họ và tên")
        self.ln(1.5)
        self.set_draw_color(150)
        self.set_line_width(0.2)
        self.line(self.l_margin, self.get_y(), self.w - self.r_margin, self.get_y())
        self.ln(2)

    def say(self, title: str, text: str, *, strong: bool = False) -> None:
        """A section; nothing if there is nothing to say."""
        if not text:
            return
        self.ln(1.5)
        self.line_of(title, 11, strong=True)
        self.set_font("noto", size=10.5)
        self.words(text, 5.8, strong=strong)

    def signed(self, version: Version) -> None:
        assert version.issued_at is not None
        self.ln(6)
        lines = [(_long_day(version.issued_at), False)]
        lines.append(("Bác sĩ đọc kết quả" if version.signed_at else "Người đọc sơ bộ", True))
        if version.signed_at:
            method = (version.signature or {}).get("method", "account")
            way = "Ký trên hệ thống" if method == "account" else "Ký số điện tử"
            lines.append((f"{way} lúc {_moment(version.signed_at)}", False))
        lines.append((version.author_name, True))
        if version.author_licence:
            lines.append((f"Số CCHN/GPHN: {version.author_licence}", False))
        if self.will_page_break(6 * len(lines)):
            self.add_page()
        for text, strong in lines:
            self.set_x(self.w / 2)
            self.set_font("noto", size=10)
            self.words(text, 5.6, strong=strong, align=Align.C, width=self.w / 2 - self.r_margin)

    def footer(self) -> None:
        """What a paper copy of an electronic document has to say of itself."""
        version = self._version
        assert version.issued_at is not None and version.subject is not None
        top = self.h - _QR_SIDE - 10
        self.set_y(top)
        self.set_draw_color(150)
        self.set_line_width(0.2)
        self.line(self.l_margin, top, self.w - self.r_margin, top)
        code = segno.make(self._copy.address or f"urn:uuid:{self._number}", error="m", micro=False)
        picture = io.BytesIO()
        code.save(picture, kind="png", scale=6, border=0)
        self.image(picture, self.w - self.r_margin - _QR_SIDE, top + 2, _QR_SIDE, _QR_SIDE)
        digest = version.digest.hex() if version.digest else ""
        lines = (
            "Bản in chuyển từ kết quả điện tử trên Hệ thống lưu trữ hình ảnh y khoa tỉnh (PACS).",
            f"Cơ quan chủ quản kết quả: {version.subject['facility_name']}",
            f"Mã tra cứu: {self._number} – phiên bản {version.number}",
            f"Mã kiểm tra (SHA-256): {digest[:32]} {digest[32:]}",
            f"Phát hành: {_moment(version.issued_at)} – người chuyển bản in: {self._copy.by}",
            f"Trang {self.page_no()}",
        )
        self.set_xy(self.l_margin, top + 2)
        self.set_font("noto", size=7)
        for line in lines:
            self.multi_cell(self.epw - _QR_SIDE - 4, 3.7, line, align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def line_of(self, text: str, size: float, *, strong: bool = False, align: Align = Align.L) -> None:
        self.set_font("noto", size=size)
        self.words(text, size * 0.52, strong=strong, align=align)

    def words(
        self, text: str, height: float, *, strong: bool = False, align: Align = Align.L, width: float = 0
    ) -> None:
        """Text in lines. What is strong has an outline in its own colour: no second file of a font."""
        mode = TextMode.FILL_STROKE if strong else TextMode.FILL
        with self.local_context(text_mode=mode, line_width=_BOLD, draw_color=0):
            self.multi_cell(width, height, text, align=align, new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _moment(at: datetime) -> str:
    return at.astimezone(VIETNAM).strftime("%H:%M %d/%m/%Y")


def _long_day(at: datetime) -> str:
    here = at.astimezone(VIETNAM)
    return f"Ngày {here.day:02} tháng {here.month:02} năm {here.year}"


def _day(iso: str) -> str:
    return date.fromisoformat(iso).strftime("%d/%m/%Y") if iso else ""
