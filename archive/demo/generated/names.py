"""Vietnamese names by how often they are given, roughly as surveys of names have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

FAMILY: Final = {
    "NGUYỄN": 38.0, "TRẦN": 11.0, "LÊ": 9.5, "PHẠM": 7.0, "HUỲNH": 3.2, "HOÀNG": 2.2, "PHAN": 4.5, "VŨ": 2.4,
    "VÕ": 2.4, "ĐẶNG": 2.1, "BÙI": 2.0, "ĐỖ": 1.4, "HỒ": 1.3, "NGÔ": 1.3, "DƯƠNG": 1.0, "LÝ": 0.6, "ĐINH": 0.9,
    "TRƯƠNG": 1.2, "LÂM": 0.7, "ĐOÀN": 0.7, "MAI": 0.6, "TRỊNH": 0.5, "ĐÀO": 0.6, "CAO": 0.5, "LƯƠNG": 0.5,
    "HÀ": 0.5, "TÔ": 0.3, "TẠ": 0.3, "THẠCH": 0.5, "SƠN": 0.3, "KIM": 0.3, "CHÂU": 0.3, "QUÁCH": 0.15, "LỮ": 0.1,
}  # fmt: skip
MIDDLE_MEN: Final = {
    "VĂN": 38.0, "HỮU": 7.0, "MINH": 6.0, "THANH": 6.0, "QUỐC": 5.0, "HOÀNG": 4.5, "ĐỨC": 4.5, "NGỌC": 3.5,
    "CÔNG": 2.5, "TRỌNG": 2.0, "XUÂN": 2.0, "DUY": 2.0, "GIA": 2.0, "ANH": 2.0, "TUẤN": 1.5, "QUANG": 2.5,
    "ĐÌNH": 2.0, "THÀNH": 1.5, "CHÍ": 1.5, "NHẬT": 1.0, "BẢO": 1.0, "": 2.0,
}  # fmt: skip
MIDDLE_WOMEN: Final = {
    "THỊ": 48.0, "NGỌC": 7.0, "THỊ NGỌC": 4.0, "THỊ THANH": 4.0, "THỊ KIM": 4.0, "THỊ MỸ": 3.0, "KIM": 3.0,
    "THỊ BÍCH": 2.5, "THỊ THÙY": 2.5, "THANH": 2.5, "MINH": 2.0, "HOÀNG": 1.5, "BẢO": 2.0, "GIA": 1.5,
    "PHƯƠNG": 1.5, "THỊ HỒNG": 3.0, "THỊ CẨM": 2.0, "QUỲNH": 1.0, "THÙY": 1.0, "": 1.0,
}  # fmt: skip
GIVEN_MEN: Final = {
    "HÙNG": 3.4, "DŨNG": 3.0, "TUẤN": 3.2, "MINH": 3.0, "HẢI": 2.4, "LONG": 2.2, "NAM": 2.2, "SƠN": 2.2,
    "THÀNH": 2.4, "ĐỨC": 2.0, "HOÀNG": 2.2, "ANH": 2.4, "TÂM": 1.6, "PHÚC": 1.8, "KHOA": 1.6, "KHANG": 1.6,
    "HUY": 2.2, "QUÂN": 1.4, "TÙNG": 1.2, "CƯỜNG": 1.8, "BÌNH": 1.8, "TRUNG": 1.6, "HIẾU": 1.8, "NGHĨA": 1.4,
    "PHONG": 1.4, "TOÀN": 1.2, "VINH": 1.2, "LÂM": 1.2, "THẮNG": 1.4, "TIẾN": 1.2, "ÚT": 0.8, "BA": 0.5,
    "HẬU": 1.2, "LỘC": 1.2, "PHÁT": 1.4, "TÀI": 1.2, "ĐẠT": 1.6, "THIỆN": 1.0, "SANG": 1.2, "NHÂN": 1.2,
    "DUY": 1.2, "KIÊN": 1.0, "QUANG": 1.2, "TRÍ": 1.0, "ĐIỀN": 0.4, "AN": 1.4, "DANH": 0.6, "ĐÔNG": 0.6,
}  # fmt: skip
GIVEN_WOMEN: Final = {
    "HOA": 2.4, "LAN": 2.8, "HƯƠNG": 2.6, "MAI": 2.4, "THU": 1.8, "NGA": 1.8, "HẠNH": 1.8, "LOAN": 1.6,
    "TRANG": 2.4, "LINH": 2.6, "ANH": 2.4, "NGỌC": 2.4, "THẢO": 2.2, "PHƯƠNG": 2.2, "HÀ": 1.8, "YẾN": 1.8,
    "HIỀN": 1.8, "THỦY": 1.6, "OANH": 1.4, "XUÂN": 1.2, "TUYẾT": 1.6, "HỒNG": 1.8, "DUNG": 1.8, "DIỄM": 1.0,
    "NHI": 2.0, "NHƯ": 2.0, "VY": 1.8, "TRÂM": 1.4, "TRINH": 1.4, "QUYÊN": 1.2, "PHƯỢNG": 1.4, "ĐÀO": 0.8,
    "ÚT": 1.0, "BÉ": 0.8, "CÚC": 1.0, "LỆ": 0.8, "MỸ": 0.8, "NGÂN": 1.6, "UYÊN": 1.2, "VÂN": 1.6, "THÚY": 1.6,
    "GIANG": 1.0, "CHI": 1.2, "MY": 1.4, "ÂN": 0.4, "ĐIỆP": 0.4, "SEN": 0.6, "HUỆ": 1.2,
}  # fmt: skip
SYLLABLES: Final = ("", "GIA", "BẢO", "MINH", "THIÊN", "KHÁNH", "TUỆ", "HỒNG", "HẢI", "ANH")
"""Before the given name of some: ``NGUYỄN BẢO ANH``; the first is by far the most frequent."""


def shares(table: Mapping[str, float]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The names, and up to where of [0, 1) each goes."""
    weights = np.array(list(table.values()))
    return tuple(table), np.cumsum(weights / weights.sum())


def drawn(cumulated: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int16]:
    """Which of the shares these numbers of [0, 1) fall into."""
    found = np.minimum(np.searchsorted(cumulated, uniform, side="right"), len(cumulated) - 1)
    return found.astype(np.int16)
