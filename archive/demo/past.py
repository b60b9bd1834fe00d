"""The demo's past: some hundred examinations of the last twelve months, drawn from a seed. All people are invented."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from archive.demo.generated import names
from archive.demo.province import DISTRICT, FACILITY_NAMES, PROVINCIAL, Person

STUDIES: Final = 400
MORE_FACILITIES: Final = {
    "99002": "Bệnh viện Sản Nhi tỉnh (dữ liệu mẫu)",
    "99012": "Trung tâm Y tế thành phố Sông Xanh (dữ liệu mẫu)",
    "99013": "Trung tâm Y tế huyện Tân Lộc (dữ liệu mẫu)",
    "99015": "Trung tâm Y tế huyện Phú Thạnh (dữ liệu mẫu)",
    "99102": "Trạm Y tế xã Thới Lai, Tân Lộc (dữ liệu mẫu)",
    "99103": "Trạm Y tế xã Thới Lai, An Bình (dữ liệu mẫu)",
}
"""Hospitals and stations that have sent only what is in the past."""
FACILITIES: Final = {**FACILITY_NAMES, **MORE_FACILITIES}
_WEIGHTS: Final = {
    PROVINCIAL: 36, "99002": 14, "99012": 15, "99013": 11, DISTRICT: 12, "99015": 7, "99102": 2, "99103": 3,
}  # fmt: skip
_SPECIALISED: Final = (PROVINCIAL, "99002")
_STATIONS: Final = ("99102", "99103")
_QUIET: Final = "99015"
"""Has sent nothing for two days, so that the dashboard has something to say."""
_HOURS: Final = (1, 1, 1, 1, 1, 2, 6, 22, 30, 28, 22, 12, 8, 20, 24, 20, 13, 7, 5, 4, 3, 3, 2, 2)
"""How many come in each hour of a day, in no particular unit."""
_WEEKDAYS: Final = (1.15, 1.05, 1.0, 1.0, 0.95, 0.5, 0.3)
_DAYS: Final = 360
_PEOPLE: Final = 260
_PATIENTS: Final = 99
"""Where the numbers of these people begin; those of the demo's other people are below."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What can be done to whom."""

    modality: str
    picture: str
    description: str
    body_part: str
    images: int
    station: str
    """End of the AE title of the device."""
    read_minutes: float
    """Median until the report is signed."""
    findings: tuple[tuple[str, str], ...]
    """What is seen, and the conclusion."""
    share: tuple[int, int, int]
    """How often: at specialised hospitals, at others, at stations."""


_CHEST: Final = (
    ("Hai phổi sáng đều, không thấy nốt mờ. Bóng tim không to. Góc sườn hoành hai bên nhọn.", "Chưa thấy bất thường."),
    ("Rốn phổi hai bên đậm, các phế huyết quản tăng đậm vùng đáy.", "Hình ảnh viêm phế quản."),
    ("Đám mờ không đều thùy dưới phổi phải.", "Theo dõi viêm phổi thùy dưới phải."),
)
EXAMINATIONS: Final = (
    Examination("CR", "chest-film", "X-quang ngực thẳng", "CHEST", 1, "CR", 70, _CHEST, (26, 40, 30)),
    Examination(
        *("CR", "forearm-film", "X-quang cẳng tay thẳng", "FOREARM", 1, "CR", 45),
        (
            ("Không thấy hình ảnh gãy xương. Khe khớp đều.", "Chưa thấy tổn thương xương."),
            ("Đường gãy ngang một phần ba giữa xương quay, ít di lệch.", "Gãy một phần ba giữa xương quay."),
        ),
        (8, 14, 10),
    ),
    Examination(
        *("US", "abdomen-us", "Siêu âm ổ bụng tổng quát", "ABDOMEN", 2, "US", 15),
        (
            (
                "Gan không to, nhu mô đều. Túi mật thành mỏng, không sỏi. Hai thận không ứ nước.",
                "Chưa thấy bất thường.",
            ),
            ("Gan tăng âm, giảm âm vùng sâu. Túi mật không sỏi.", "Gan nhiễm mỡ độ I."),
        ),
        (18, 26, 50),
    ),
    Examination(
        *("US", "thyroid-us", "Siêu âm tuyến giáp", "NECK", 2, "US", 15),
        (("Thùy phải có nhân giảm âm 6 mm, bờ đều, không vôi hóa.", "Nhân thùy phải tuyến giáp, TI-RADS 3."),),
        (8, 8, 10),
    ),
    Examination(
        *("CT", "head-ct", "CLVT sọ não không tiêm", "HEAD", 3, "CT", 95),
        (
            ("Không thấy vùng tăng hay giảm tỷ trọng bất thường. Não thất cân đối.", "Chưa thấy xuất huyết nội sọ."),
            ("Ổ giảm tỷ trọng nhỏ vùng bao trong bên trái.", "Nhồi máu ổ khuyết cũ bên trái."),
        ),
        (16, 8, 0),
    ),
    Examination("CT", "chest-ct", "CLVT lồng ngực không tiêm", "CHEST", 3, "CT", 130, _CHEST, (12, 4, 0)),
    Examination(
        *("MR", "head-mr", "Cộng hưởng từ sọ não", "HEAD", 3, "MR", 200),
        (("Không thấy vùng tín hiệu bất thường nhu mô não. Não thất không giãn.", "Chưa thấy bất thường."),),
        (12, 0, 0),
    ),
)
READERS: Final = {
    code: (f"BS. {name}", f"00{4120 + number}/SX-CCHN")
    for number, (code, name) in enumerate(
        zip(
            FACILITIES,
            ("Trịnh Hoàng Nam", "Lò Thị Mai", "Cao Thu Hằng", "Ngô Minh Trí", "Tạ Văn Khoa", "Lý Thị Sen",
             "Bùi Quốc Việt", "Đỗ Thanh Tùng"),
            strict=True,
        )
    )
}  # fmt: skip
"""Who reads where, and the number of the practising licence."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One examination of the past. Times are those of the hospitals, without a zone."""

    number: int
    facility: str
    person: Person
    what: Examination
    accession_number: str
    ordered_at: datetime | None
    studied_at: datetime
    arrived_at: datetime
    reported_at: datetime | None
    """None while it waits to be read."""
    finding: tuple[str, str]
    given: str
    """How it went to the patient: a mode of delivery, or empty."""

    @property
    def station(self) -> str:
        """AE title of the device."""
        known = {(PROVINCIAL, "CT"): "SONGXANH_CT", (DISTRICT, "CR"): "ANBINH_CR"}
        return known.get((self.facility, self.what.station)) or f"CS{self.facility}_{self.what.station}"


def visits(count: int, now: datetime) -> list[Visit]:
    """The same ones for the same count and time, the oldest first. `now` is a time of the hospitals' clocks."""
    draw = random.Random(f"past of the demo {count}")  # noqa: S311  nothing is secret here
    people = [_person(draw, number) for number in range(_PEOPLE)]
    times = [(_when(draw, now), draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]) for _ in range(count)]
    # Each has sent something of late, but for one.
    for code in list(FACILITIES)[: count // 3]:
        times[draw.randrange(count)] = (now - timedelta(minutes=draw.uniform(40, 900)), code)
    made: list[Visit] = []
    for number, (moment, drawn) in enumerate(sorted(times)):
        code = PROVINCIAL if drawn == _QUIET and now - moment < timedelta(hours=50) else drawn
        earlier = draw.choice(made[-25:]) if made and draw.random() < 0.03 else None
        if earlier is not None and earlier.facility not in (code, *_STATIONS):
            person, what = earlier.person, earlier.what  # done again elsewhere, soon after
        else:
            person, what = draw.choice(people), _what(draw, code)
        made.append(_visit(draw, number, now, moment, code, person, what))
    return made


def _visit(
    draw: random.Random, number: int, now: datetime, moment: datetime, code: str, person: Person, what: Examination
) -> Visit:
    late = draw.random() < 0.03 and now - moment > timedelta(days=3)
    arrived = moment + timedelta(minutes=draw.uniform(1500, 3000) if late else draw.uniform(2, 22))
    arrived = min(arrived, now - timedelta(seconds=30))
    ordered = moment - timedelta(minutes=draw.lognormvariate(3.4, 0.6)) if draw.random() < 0.85 else None
    reported = arrived + timedelta(minutes=what.read_minutes * draw.lognormvariate(0, 0.7))
    forgotten = draw.random() < 0.02
    mode = draw.choices(("qr", "portal", "film", "dicom_media", ""), (44, 20, 18, 3, 15))[0]
    is_read = reported < now and not forgotten
    return Visit(
        number, code, person, what,
        accession_number=f"{moment:%y%m%d}{number:05}",
        ordered_at=ordered,
        studied_at=moment,
        arrived_at=arrived,
        reported_at=reported if is_read else None,
        finding=draw.choice(what.findings),
        given=mode if is_read else "",
    )  # fmt: skip


def _when(draw: random.Random, now: datetime) -> datetime:
    """A time before now: more of late than long ago, and as hospitals work."""
    while True:
        back = int(_DAYS * draw.random() ** 1.25)
        if draw.random() < 0.03:
            back = 0
        day = now.date() - timedelta(days=back)
        if draw.random() > _WEEKDAYS[day.weekday()]:
            continue
        hour = draw.choices(range(24), _HOURS)[0]
        moment = datetime(day.year, day.month, day.day, hour, draw.randrange(60), draw.randrange(60))
        if moment < now - timedelta(minutes=5):
            return moment


def _what(draw: random.Random, code: str) -> Examination:
    column = 0 if code in _SPECIALISED else 2 if code in _STATIONS else 1
    return draw.choices(EXAMINATIONS, [each.share[column] for each in EXAMINATIONS])[0]


def _person(draw: random.Random, number: int) -> Person:
    """Citizen numbers as `Person` has them."""
    female = draw.random() < 0.52
    year = draw.choices((2013, 2002, 1990, 1975, 1960, 1945), (6, 10, 22, 24, 26, 12))[0] + draw.randrange(12)
    tables = (names.MIDDLE_WOMEN, names.GIVEN_WOMEN) if female else (names.MIDDLE_MEN, names.GIVEN_MEN)
    words = [draw.choices(list(table), list(table.values()))[0] for table in (names.FAMILY, *tables)]
    sex = "F" if female else "M"
    century = (2 if year >= 2000 else 0) + female
    citizen = f"099{century}{year % 100:02}{(_PATIENTS + number) * 7:06}"
    born = f"{year}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
    return Person(" ".join(filter(None, words)), born, "F" if sex == "F" else "M", citizen)
