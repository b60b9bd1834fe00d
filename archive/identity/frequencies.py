"""How often names are given here: what a name tells before the archive has seen many people.

Shares in per cent of family names, and of middle and given names of women and men, without accents (``HUNG`` is Hùng
and Hưng). Rounded from what surveys of Vietnamese names agree on; half or double would do as well: the archive's own
counts take over as it grows (`archive.identity.names.share`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final


def _shares(table: str) -> Mapping[str, float]:
    words = table.split()
    return {name: float(share) / 100 for name, share in zip(words[::2], words[1::2], strict=True)}


FAMILY: Final = _shares("""
NGUYEN 34 TRAN 11 LE 9.5 PHAM 7 PHAN 4.5 HUYNH 4 VO 3 VU 3 HOANG 3 DANG 2.1 BUI 2 DO 1.6 HO 1.3 NGO 1.3 DUONG 1.2
TRUONG 1.2 DINH 0.9 LAM 0.7 DOAN 0.7 LY 0.7 MAI 0.6 DAO 0.6 TRINH 0.6 LUONG 0.6 HA 0.6 CAO 0.5 THACH 0.4 CHAU 0.4
TO 0.4 TA 0.4 LUU 0.4 KIM 0.3 SON 0.3 THAI 0.3 CHU 0.3 QUACH 0.3 DIEP 0.2 TONG 0.2 LA 0.2 HUA 0.2 LU 0.2 KIEU 0.2
""")
_MIDDLE: Final[Mapping[str, Mapping[str, float]]] = {
    "F": _shares("""
        THI 62 NGOC 6 THANH 3.5 MINH 2.5 KIM 2.5 PHUONG 2 BAO 2 HOANG 1.5 THUY 1.5 HONG 1.5 MY 1.5 THU 1.5 QUYNH 1.2
        GIA 1.2 BICH 1 CAM 1 KHANH 1 XUAN 1 TUYET 0.8 ANH 0.8 MAI 0.7 LAN 0.6 DIEM 0.6 TU 0.5 HA 0.5 YEN 0.5 TRUC 0.5
    """),
    "M": _shares("""
        VAN 36 MINH 6 HUU 6 THANH 6.5 QUOC 5 HOANG 4.5 DUC 4.5 NGOC 3.5 QUANG 3 CONG 2.5 XUAN 2.5 TUAN 2 DUY 2 GIA 2
        TRONG 2 DINH 2 ANH 2 CHI 1.5 BAO 1.2 NHAT 1 HAI 1 TAN 1 PHUOC 0.8 TIEN 0.8 HONG 0.7 TRUNG 0.7 THE 0.7 BA 0.7
    """),
}
_GIVEN: Final[Mapping[str, Mapping[str, float]]] = {
    "F": _shares("""
        ANH 3.5 HUONG 2.6 LINH 2.6 LAN 2.5 TRANG 2.5 THUY 3 HA 2.2 NGOC 2.4 THAO 2.2 PHUONG 3.4 MAI 2.2 HOA 2.2 THU 2
        HANH 1.9 NGA 1.8 HIEN 1.8 HONG 1.8 YEN 1.8 NHUNG 1.5 HANG 1.6 DUNG 1.8 LOAN 1.6 TUYET 1.5 NHI 1.8 NHU 1.8
        VY 1.6 VAN 1.6 OANH 1.3 TRINH 1.3 TRAM 1.3 NGAN 1.5 UYEN 1.1 GIANG 1.1 CHI 1.2 XUAN 1.2 HUE 1.4 QUYEN 1.1
        HUYEN 1.4 THANH 1.6 BINH 0.8 LIEN 1.2 THOA 0.8 MY 1.3 CUC 0.9 LE 1 DAO 0.8 DIEM 0.8 UT 0.8 BE 0.7 SEN 0.5
        TAM 1 MINH 0.9 KIM 0.7 BICH 0.6 HAO 0.5 HIEU 0.4 TU 0.7 TRUC 0.9 TIEN 1.1 THI 0.4 QUY 0.5 SAU 0.3 BAY 0.3
        HAI 0.4 CHAU 0.8 KHANH 0.6 QUYNH 1 AN 0.9 LY 0.7 LIEU 0.5 DIEP 0.6 NGUYET 0.7
    """),
    "M": _shares("""
        HUNG 4.2 DUNG 3 TUAN 3.2 MINH 2.9 ANH 2.3 HAI 2.4 LONG 2.1 NAM 2.2 SON 2.2 THANH 3.6 DUC 2 HOANG 2.1 TAM 1.6
        PHUC 1.8 KHOA 1.5 KHANG 1.4 HUY 2.1 QUAN 1.5 TUNG 1.2 CUONG 1.9 BINH 1.9 TRUNG 1.6 HIEU 1.8 NGHIA 1.4
        PHONG 1.4 TOAN 1.2 VINH 1.2 LAM 1.2 THANG 1.6 TIEN 1.3 UT 0.7 BA 0.5 HAU 1.2 LOC 1.2 PHAT 1.2 TAI 1.2 DAT 1.6
        THIEN 1.1 SANG 1.2 NHAN 1.2 DUY 1.2 KIEN 1 QUANG 1.3 TRI 1.1 AN 1.3 DANH 0.6 DONG 0.7 HOA 1 HA 0.6 LINH 0.8
        HOAN 0.6 TU 0.8 KHANH 0.9 BAO 1.3 THINH 1.2 KIET 1.1 TAN 0.8 PHU 0.8 QUY 0.8 VU 1.3 HAO 0.8 DIEN 0.4 CHUNG 0.5
        NGOC 0.7 LUAN 0.6 DINH 0.5 HIEN 0.5 MANH 0.9 TINH 0.5 XUAN 0.4 GIANG 0.5 VIET 0.8 HAN 0.4 TAY 0.3 NAM 2.2
    """),
}
_RARE_FAMILY: Final = 0.0005
_RARE_MIDDLE: Final = 0.004
_RARE_GIVEN: Final = 0.0015
_SECOND_MIDDLE: Final = 0.03
"""Of names with two middle names: how many have a certain second one."""
_RAREST: Final = 1e-7
"""Families repeat names, and unusual parts come together: no name is as rare as the product of all its parts."""
_MIDDLES: Final[Mapping[int, float]] = {0: 0.04, 1: 0.72, 2: 0.23}
_MORE_MIDDLES: Final = 0.01


@lru_cache(maxsize=65_536)
def expected(folded_name: str) -> float:
    """The share of people with this name, by what is known of the names of all."""
    family, *rest = folded_name.split()
    if not rest:
        return max(FAMILY.get(family, _RARE_FAMILY), *(_GIVEN[sex].get(family, _RARE_GIVEN) for sex in "FM"))
    *middles, given = rest
    shape = _MIDDLES.get(len(middles), _MORE_MIDDLES) * _SECOND_MIDDLE ** max(0, len(middles) - 1)
    of_sex = sum(
        0.5 * _GIVEN[sex].get(given, _RARE_GIVEN) * (_MIDDLE[sex].get(middles[0], _RARE_MIDDLE) if middles else 1.0)
        for sex in "FM"
    )
    return max(_RAREST, FAMILY.get(family, _RARE_FAMILY) * shape * of_sex)
