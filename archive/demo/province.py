"""Who and what the demo province consists of. All people, numbers and hospitals are invented."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

NAMESPACE = uuid.UUID("6f3b7f0e-0d0c-5b38-9c1d-7a5e4c1b9a52")
PROVINCIAL = "99001"
DISTRICT = "99014"
"""MA_CSKCB begins with the province's number in the insurance system; none has 99."""
FACILITY_NAMES = {
    PROVINCIAL: "Bệnh viện Đa khoa tỉnh Sông Xanh (dữ liệu mẫu)",
    DISTRICT: "Trung tâm Y tế huyện An Bình (dữ liệu mẫu)",
}
CITIZEN_ID_ISSUER = "CCCD"
"""Issuer of identity numbers: the same person is one patient in every hospital that writes the number."""


@dataclass(frozen=True, slots=True)
class Person:
    """Citizen numbers have 12 digits: 3 for the province of registration, 1 for century and sex, 2 for the year of
    birth, 6 random. Provinces end at 096; 099 belongs to nobody, so no real person can have one of these.
    """

    name: str
    birth_date: str
    sex: Literal["M", "F"]
    patient_id: str
    issuer: str = CITIZEN_ID_ISSUER


Builder = Literal["file", "thorax", "angiogram", "report"]


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """A series: test files of pydicom, or what a builder computes."""

    modality: str
    description: str
    files: tuple[str, ...] = ()
    builder: Builder = "file"
    body_part: str = ""
    slices: int = 0
    spacing: float = 0
    """Millimetres between slices."""
    nodule: float = 0
    """Radius of the finding in millimetres."""


@dataclass(frozen=True, slots=True)
class StudyPlan:
    facility: str
    person: Person
    date: str
    time: str
    accession_number: str
    description: str
    referrer: str
    series: tuple[SeriesPlan, ...]

    @property
    def uid(self) -> str:
        return uid("study", self.accession_number)


def uid(*names: object) -> str:
    """The same UID for the same names, everywhere (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(map(str, names))).int}"


HOA = Person("NGUYỄN THỊ HOA", "19620814", "F", "099162000017")
BINH = Person("TRẦN VĂN BÌNH", "19550302", "M", "099055000021")
DUNG = Person("LÊ^QUỐC DŨNG", "19870919", "M", "099087000035")
PHUONG = Person("PHẠM THỊ BÍCH PHƯỢNG", "19930127", "F", "099193000048")
DUC = Person("HOÀNG ĐỨC", "19710605", "M", "099071000052")
YEN = Person("ĐẶNG THỊ HẢI YẾN", "20040711", "F", "099304000066")
KHANH = Person("VÕ^KHÁNH^GIA", "20150423", "M", "099215000079")
UT = Person("HUỲNH VĂN ÚT", "19480000", "M", "BN24-001873", issuer="")
"""Year of birth only, and a hospital number in place of the citizen number: both are common among the old."""

BS_LAN = "BS. VŨ THỊ LAN"
BS_SON = "BSCKI. NGÔ HOÀNG SƠN"

# The dates are fixed, not counted back from today: a reload then gives the same bytes and so changes nothing,
# and a screenshot or a test shows the same list on any day.
STUDIES = (
    StudyPlan(
        PROVINCIAL,
        HOA,
        "20261030",
        "081500",
        "26103000017",
        "CT lồng ngực không tiêm thuốc cản quang",
        BS_LAN,
        (
            SeriesPlan("CT", "Lồng ngực 3 mm", builder="thorax", body_part="CHEST", slices=96, spacing=3, nodule=9),
            SeriesPlan("SR", "Kết quả chẩn đoán hình ảnh", builder="report"),
        ),
    ),
    StudyPlan(
        DISTRICT,
        HOA,
        "20251112",
        "093000",
        "25111200044",
        "CT ngực kiểm tra",
        BS_SON,
        (SeriesPlan("CT", "Lồng ngực 6 mm", builder="thorax", body_part="CHEST", slices=48, spacing=6, nodule=5),),
    ),
    StudyPlan(
        PROVINCIAL,
        BINH,
        "20261029",
        "022300",
        "26102900003",
        "CT sọ não cấp cứu",
        BS_LAN,
        (SeriesPlan("CT", "Sọ não 5 mm", ("693_J2KR.dcm",), body_part="HEAD"),),
    ),
    StudyPlan(
        PROVINCIAL,
        BINH,
        "20261029",
        "031000",
        "26102900004",
        "Chụp mạch vành số hóa xóa nền (DSA)",
        BS_LAN,
        (SeriesPlan("XA", "Động mạch vành trái", builder="angiogram", body_part="HEART"),),
    ),
    StudyPlan(
        DISTRICT,
        UT,
        "20261028",
        "101200",
        "26102800051",
        "X-quang ngực thẳng",
        BS_SON,
        (SeriesPlan("CR", "Ngực thẳng sau-trước", ("RG1_J2KR.dcm",), body_part="CHEST"),),
    ),
    StudyPlan(
        DISTRICT,
        KHANH,
        "20261028",
        "143000",
        "26102800062",
        "X-quang xương cẳng chân thẳng",
        BS_SON,
        (SeriesPlan("CR", "Cẳng chân thẳng", ("RG3_J2KR.dcm",), body_part="LEG"),),
    ),
    StudyPlan(
        PROVINCIAL,
        DUNG,
        "20261027",
        "090500",
        "26102700012",
        "Cộng hưởng từ khớp vai",
        BS_LAN,
        (SeriesPlan("MR", "T1W SE", ("MR2_J2KR.dcm", "MR2_J2KI.dcm"), body_part="SHOULDER"),),
    ),
    StudyPlan(
        PROVINCIAL,
        DUC,
        "20261026",
        "074000",
        "26102600009",
        "Cộng hưởng từ gan mật",
        BS_LAN,
        (SeriesPlan("MR", "T1 VIBE MPR", ("MR-SIEMENS-DICOM-WithOverlays.dcm",), body_part="ABDOMEN"),),
    ),
    StudyPlan(
        PROVINCIAL,
        DUC,
        "20261012",
        "133000",
        "26101200030",
        "Xạ hình xương toàn thân",
        BS_LAN,
        (SeriesPlan("NM", "Toàn thân trước", ("JPEG-LL.dcm",), body_part="WHOLEBODY"),),
    ),
    StudyPlan(
        DISTRICT,
        PHUONG,
        "20261025",
        "151000",
        "26102500027",
        "Siêu âm thai",
        BS_SON,
        (SeriesPlan("US", "Thai nhi", ("OBXXXX1A_rle_2frame.dcm",), body_part="UTERUS"),),
    ),
    StudyPlan(
        PROVINCIAL,
        YEN,
        "20261024",
        "102000",
        "26102400018",
        "Siêu âm tim",
        BS_LAN,
        (
            SeriesPlan("US", "Mặt cắt cạnh ức", ("color3d_jpeg_baseline.dcm",), body_part="HEART"),
            SeriesPlan("US", "Ảnh tĩnh", ("JPGLosslessP14SV1_1s_1f_8b.dcm",), body_part="HEART"),
            SeriesPlan("ECG", "Điện tâm đồ 12 chuyển đạo", ("waveform_ecg.dcm",)),
        ),
    ),
    StudyPlan(
        DISTRICT,
        PHUONG,
        "20260918",
        "084500",
        "26091800011",
        "Siêu âm phần mềm",
        BS_SON,
        (SeriesPlan("US", "Phần mềm", ("US1_J2KR.dcm",)),),
    ),
    StudyPlan(
        PROVINCIAL,
        KHANH,
        "20260903",
        "110000",
        "26090300005",
        "Cộng hưởng từ sọ não",
        BS_LAN,
        (SeriesPlan("MR", "T1 đa khung", ("emri_small_jpeg_ls_lossless.dcm",), body_part="HEAD"),),
    ),
)
