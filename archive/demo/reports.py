"""Reports of the demo province: one that is signed, one that is preliminary; the others wait to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from archive.demo.province import PROVINCIAL, STUDIES
from archive.errors import NotFound
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reports.records import Author, Written

if TYPE_CHECKING:
    from archive.core import Archive

_DOCTOR: Final = "bs.songxanh"
_AUTHOR: Final = Author("BS. Phạm Minh Hà", "000123/SX-CCHN")
_INSTALLER: Final = Caller(Kind.SYSTEM, "demo", dict.fromkeys(Right))
_CT: Final = Written(
    template="ct-so-nao",
    fields={
        "ky_thuat": "Các lớp cắt ngang từ nền sọ đến đỉnh sọ, không tiêm thuốc cản quang.",
        "nhu_mo": "Không thấy vùng tăng hay giảm tỷ trọng bất thường trên lều và dưới lều tiểu não.",
        "nao_that": "Giãn nhẹ, cân đối hai bên.",
        "duong_giua": "Không bị đẩy lệch",
        "khoang_dich": "Rộng hơn theo tuổi.",
        "xuong": "Không thấy hình ảnh vỡ xương.",
    },
    conclusion="Hình ảnh teo não tuổi già. Hiện tại không thấy xuất huyết hay máu tụ nội sọ.",
    recommendation="Đề nghị kết hợp lâm sàng và theo dõi.",
    codes={"MA_LK": "MAU2610290003", "MA_DICH_VU": "18.0149.0040"},
)
_MR: Final = Written(
    text="Gan không to, tín hiệu nhu mô đều. Đường mật trong và ngoài gan không giãn.",
    conclusion="Hiện tại chưa thấy bất thường; chờ bác sĩ chuyên khoa đọc lại.",
)
_WRITTEN: Final = (("26102900003", _CT, True), ("26102600009", _MR, False))
"""Accession number, what is said, whether it is signed."""


def write(archive: Archive) -> None:
    """Write them where there is none. Doing it again changes nothing."""
    uids = {study.accession_number: study.uid for study in STUDIES if study.facility == PROVINCIAL}
    for accession, written, signed in _WRITTEN:
        study = uids[accession]
        if archive.reports.of_study(_INSTALLER, study):
            continue
        entry = archive.reports.create(_INSTALLER, study, written, author=_AUTHOR, source="api")
        finish = archive.reports.sign if signed else archive.reports.give_out
        finish(_INSTALLER, entry.number, entry.revision, author=_AUTHOR)
    _licence(archive)


def _licence(archive: Archive) -> None:
    """So that the demo's radiologist can sign."""
    try:
        account = archive.people.accounts.named(_INSTALLER, _DOCTOR).id
    except NotFound:
        return
    if not archive.reports.writers.licence(account):
        archive.reports.set_licence(_INSTALLER, account, _AUTHOR.licence)
