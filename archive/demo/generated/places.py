"""The hospitals and commune stations of the generated province: codes, districts, levels, how much each does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np


class Tier(IntEnum):
    """What a facility is, which decides what it examines."""

    STATION = 0
    DISTRICT = 1
    GENERAL = 2
    """The provincial general hospital."""
    WOMEN_AND_CHILDREN = 3
    """The provincial specialised hospital."""


@dataclass(frozen=True, slots=True)
class Place:
    """A facility. `code` is its MA_CSKCB; 99 is no province's number in the insurance system."""

    code: str
    name: str
    district: str
    tier: Tier
    weight: float
    """Share of all studies, in no particular unit."""
    register: int
    """Index of the facility whose patient register (HIS) it uses: stations use that of their district's hospital."""
    writes_citizen_ids: bool
    """Whether its modalities get the citizen number as PatientID, or the number of its own register."""
    capitals: bool
    """Whether names are written ``NGUYỄN VĂN AN`` or ``Nguyễn Văn An``."""
    ascii_share: float
    """Share of patients whose names lose their accents, by modalities that know no others."""
    readers: int
    """Doctors who write reports."""

    @property
    def care_level(self) -> str:
        """Cấp chuyên sâu, cơ bản or ban đầu (Law 15/2023 article 104)."""
        return "primary" if self.tier is Tier.STATION else "basic" if self.tier is Tier.DISTRICT else "specialised"


DISTRICTS: Final = (
    "Sông Xanh", "Tân Lộc", "An Bình", "Phú Thạnh", "Hòa Sơn", "Mỹ Điền", "Long Khê",
    "Bình Giang", "Vĩnh Hưng", "Thạnh Trị", "Đông Hải", "Cát Lâm", "Ba Hòn",
)  # fmt: skip
"""The first is the city."""
_WEIGHTS: Final = (0.95, 0.92, 0.8, 0.75, 0.72, 0.66, 0.62, 0.6, 0.55, 0.5, 0.45, 0.4, 0.3)
_CITIZEN: Final = frozenset((0, 2, 5))
_SMALL: Final = frozenset((1, 4, 7, 9))
_ASCII: Final = {3: 0.35, 6: 0.2, 10: 0.6}
STATIONS: Final = 100
_COMMUNES: Final = (
    "Thới Lai", "Phước Hậu", "Tân Quới", "Hiệp Thành", "Long Mỹ", "Bình Ninh", "An Phước", "Mỹ Lộc", "Hòa Tịnh",
)  # fmt: skip


def _hospitals() -> list[Place]:
    general = Place(
        "99001", "Bệnh viện Đa khoa tỉnh Sông Xanh", DISTRICTS[0], Tier.GENERAL, 3.6, 0, True, True, 0.03, 24
    )
    special = Place(
        "99002", "Bệnh viện Sản Nhi tỉnh", DISTRICTS[0], Tier.WOMEN_AND_CHILDREN, 1.5, 1, False, True, 0.02, 10
    )
    districts = [
        Place(
            code=f"990{12 + number}",
            name=f"Trung tâm Y tế {'thành phố' if number == 0 else 'huyện'} {name}",
            district=name,
            tier=Tier.DISTRICT,
            weight=_WEIGHTS[number],
            register=2 + number,
            writes_citizen_ids=number in _CITIZEN,
            capitals=number not in _SMALL,
            ascii_share=_ASCII.get(number, 0.02),
            readers=6 if number < 4 else 4,
        )
        for number, name in enumerate(DISTRICTS)
    ]
    return [general, special, *districts]


def _stations() -> list[Place]:
    made = []
    for number in range(STATIONS):
        district = number % len(DISTRICTS)
        commune = _COMMUNES[number // len(DISTRICTS)]
        made.append(
            Place(
                code=f"99{101 + number}",
                name=f"Trạm Y tế xã {commune}, {DISTRICTS[district]}",
                district=DISTRICTS[district],
                tier=Tier.STATION,
                weight=0.012 + 0.006 * (number % 5),
                register=2 + district,
                writes_citizen_ids=False,
                capitals=number % 3 != 0,
                ascii_share=0.05,
                readers=1,
            )
        )
    return made


PLACES: Final = (*_hospitals(), *_stations())
HOSPITALS: Final = 15
DISTRICT_OF: Final = np.array([DISTRICTS.index(place.district) for place in PLACES], np.int16)
TIER_OF: Final = np.array([place.tier for place in PLACES], np.int8)
WEIGHT_OF: Final = np.array([place.weight for place in PLACES])
REGISTER_OF: Final = np.array([place.register for place in PLACES], np.int16)
WRITES_CITIZEN_IDS: Final = np.array([place.writes_citizen_ids for place in PLACES])
ASCII_SHARE: Final = np.array([place.ascii_share for place in PLACES])


def settings() -> str:
    """The facilities and the devices of hospitals as a settings file has them, so that silence of one is noticed."""
    lines = []
    for place in PLACES:
        lines += [
            "[[facilities]]",
            f'code = "{place.code}"',
            f'name = "{place.name}"',
            f'issuer_of_patient_id = "{PLACES[place.register].code}"',
            f'district = "{place.district}"',
            f'care_level = "{place.care_level}"',
            "",
        ]
    return "\n".join(lines)
