"""Signed reports for an electronic health record: ``HoSoBenhAn`` with a group ``KetQuaChanDoanHinhAnh``.

CV 365/TTYQG-GPQLCL names root and group and asks for XML or JSON; which fields the group has is not public. Those here
are ours: everything that was signed, in words, with its digest, so that the record is whole without this archive; and
the Study Instance UID by which the images are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree as ET

from archive.reports.insurance import rows_of
from archive.reports.records import Entry
from archive.reports.templates import Template
from config.clock import VIETNAM

VERSION: Final = "1"
"""Of these fields."""


def record(entry: Entry, template: Template | None) -> dict[str, Any]:
    """The record of one signed report: its patient, and the report."""
    version = entry.version
    assert version is not None and version.subject is not None and version.signed_at is not None
    subject = version.subject
    main = (rows_of(entry, template).rows or [{}])[0]
    return {
        "PhienBan": VERSION,
        "ThongTinHanhChinh": {
            "MaNguoiBenh": subject["patient_id"],
            "NoiCapMa": subject["issuer"],
            "HoTen": " ".join(subject["patient_name"].split("=")[0].replace("^", " ").split()),
            "NgaySinh": subject["birth_date"],
            "GioiTinh": subject["sex"],
            "MaLuotKham": main.get("MA_LK", ""),
        },
        "KetQuaChanDoanHinhAnh": {
            "MaKetQua": entry.number,
            "PhienBanKetQua": version.number,
            "TrangThai": version.status,
            "LyDo": version.reason,
            "CoSoThucHien": {"Ma": subject["owner"], "Ten": subject["owner_name"]},
            "CoSoDocKetQua": {"Ma": subject["facility"], "Ten": subject["facility_name"]},
            "SoPhieuChiDinh": subject["accession_number"],
            "MaDichVu": main.get("MA_DICH_VU", ""),
            "TenDichVu": subject["procedure"],
            "PhuongThuc": "/".join(subject["modalities"]),
            "ThoiGianThucHien": f"{subject['study_date']}T{subject['study_time']}".strip("T"),
            "MoTa": version.description,
            "KetLuan": version.conclusion,
            "DeNghi": version.recommendation,
            "BoSung": [
                {
                    "NoiDung": each["text"],
                    "ThoiGian": each["at"],
                    "NguoiGhi": each["author_name"],
                    "LyDo": each["reason"],
                }
                for each in version.addenda
            ],
            "BacSiDocKetQua": {"HoTen": version.author_name, "SoGiayPhepHanhNghe": version.author_licence},
            "ThoiGianKy": version.signed_at.astimezone(VIETNAM).isoformat(timespec="seconds"),
            "PhuongThucKy": (version.signature or {}).get("method", ""),
            "MaKiemTra": {"ThuatToan": "SHA-256", "GiaTri": version.digest.hex() if version.digest else ""},
            "StudyInstanceUID": entry.study,
        },
    }


def as_json(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Records as one document."""
    return {"HoSoBenhAn": list(records)}


def as_xml(records: Sequence[dict[str, Any]]) -> bytes:
    """The same in XML: one is a ``HoSoBenhAn``, several are a ``DanhSachHoSoBenhAn`` of them."""
    elements = [_element("HoSoBenhAn", each) for each in records]
    root = elements[0] if len(elements) == 1 else ET.Element("DanhSachHoSoBenhAn")
    if len(elements) != 1:
        root.extend(elements)
    ET.indent(root)
    encoded: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return encoded


def _element(name: str, value: Any) -> ET.Element:
    found = ET.Element(name)
    if isinstance(value, dict):
        found.extend(_element(key, each) for key, each in value.items())
    elif isinstance(value, list):
        found.extend(_element("Muc", each) for each in value)
    else:
        found.text = str(value)
    return found
