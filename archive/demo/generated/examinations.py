"""What is examined in the generated province: how often where, of whom, and what images it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLEndoscopicImageStorage,
    XRayAngiographicImageStorage,
)

from archive.demo.generated.places import Tier


@dataclass(frozen=True, slots=True)
class Images:
    """A series of an examination: how many images of what size it makes."""

    description: str
    mean: float
    """Images of a series on average; 1 means always one."""
    rows: int
    columns: int
    bits: int
    compressed: float
    """Bytes in the store of one byte of pixels."""
    samples: int = 1
    frames: int = 1
    chance: float = 1.0
    """How often the series is made at all."""

    @property
    def size(self) -> int:
        """Bytes of one object on average."""
        return int(self.rows * self.columns * self.frames * self.samples * (self.bits // 8) * self.compressed) + 1500


@dataclass(frozen=True, slots=True)
class Examination:
    """A kind of examination. `shares` are by tier: station, district, general, women and children."""

    modality: str
    body_part: str
    description: str
    shares: tuple[float, float, float, float]
    series: tuple[Images, ...]
    sop_class_uid: str
    women_only: bool = False
    ages: tuple[int, int] = (0, 120)
    urgent: float = 0.1
    """Share that comes at any hour of day and night."""
    findings: tuple[tuple[str, str], ...] = field(default=())
    """What is seen, and what is concluded; the first is the normal one."""


def _xray(description: str) -> tuple[Images, ...]:
    return (Images(description, 1, 2022, 1736, 16, 0.55),)


_FILM_2 = (Images("Thẳng", 1, 2022, 1736, 16, 0.5), Images("Nghiêng", 1, 2022, 1736, 16, 0.5, chance=0.85))
_US = (Images("Siêu âm", 5, 768, 1024, 8, 0.18, samples=3),)
_US_CINE = (*_US, Images("Cine", 2, 600, 800, 8, 0.1, samples=3, frames=40, chance=0.4))
_CT_PLAIN = (
    Images("Topogram", 1, 512, 888, 16, 0.5),
    Images("Lát cắt 5 mm", 62, 512, 512, 16, 0.48),
    Images("Lát cắt 1 mm", 240, 512, 512, 16, 0.5, chance=0.55),
)
_CT_CONTRAST = (*_CT_PLAIN, Images("Thì tĩnh mạch", 190, 512, 512, 16, 0.5))
_MR = tuple(
    Images(name, 24, 384, 384, 16, 0.52, chance=chance)
    for name, chance in (("T1W", 1.0), ("T2W", 1.0), ("FLAIR/STIR", 0.95), ("DWI", 0.7), ("T1W sau tiêm", 0.35))
)
_CHEST = (
    ("Nhu mô phổi hai bên sáng đều. Bóng tim không to. Góc sườn hoành hai bên nhọn.", "Tim phổi bình thường."),
    ("Đám mờ thùy dưới phổi phải, bờ không rõ.", "Theo dõi viêm phổi thùy dưới phải."),
    ("Bóng tim to, chỉ số tim ngực 0,58. Rốn phổi đậm.", "Bóng tim to."),
    ("Mờ đồng nhất góc sườn hoành trái.", "Tràn dịch màng phổi trái lượng ít."),
)
_BONE = (
    ("Không thấy hình ảnh gãy xương. Khe khớp bình thường.", "Chưa thấy tổn thương xương."),
    ("Hẹp khe khớp, gai xương rìa khớp.", "Thoái hóa khớp."),
    ("Đường gãy ngang thân xương, di lệch ít.", "Gãy xương, di lệch ít."),
)
_BELLY = (
    ("Gan không to, nhu mô đều. Túi mật không sỏi. Hai thận không ứ nước.", "Chưa ghi nhận bất thường."),
    ("Gan tăng âm lan tỏa, giảm âm vùng sâu.", "Gan nhiễm mỡ độ I-II."),
    ("Sỏi đài thận trái 6 mm, không ứ nước.", "Sỏi thận trái."),
    ("Túi mật có sỏi 12 mm kèm bóng lưng.", "Sỏi túi mật."),
)
_HEAD = (
    ("Không thấy ổ tăng hay giảm tỷ trọng bất thường. Hệ thống não thất không giãn.", "Chưa thấy tổn thương nội sọ."),
    ("Vùng giảm tỷ trọng bao trong trái.", "Nhồi máu não bán cầu trái."),
    ("Ổ tăng tỷ trọng đồi thị phải kích thước 22 mm.", "Xuất huyết não đồi thị phải."),
)
_OTHER = (
    ("Không thấy hình ảnh bất thường trên các mặt cắt khảo sát.", "Trong giới hạn bình thường."),
    ("Tổn thương khu trú, bờ đều, cần theo dõi.", "Tổn thương khu trú, đề nghị kiểm tra lại sau 3 tháng."),
)
_FETUS = (
    ("Thai sống trong tử cung, tim thai đều 150 lần/phút, nước ối bình thường.", "Một thai sống, phát triển phù hợp."),
    ("Ngôi mông, nước ối bình thường.", "Một thai sống, ngôi mông."),
)

EXAMINATIONS: Final = (
    Examination("DX", "CHEST", "X-quang ngực thẳng", (30, 22, 14, 14), _xray("Ngực thẳng"),
                DigitalXRayImageStorageForPresentation, urgent=0.2, findings=_CHEST),
    Examination("CR", "CHEST", "X-quang ngực thẳng", (6, 5, 1, 0), _xray("Ngực thẳng"),
                ComputedRadiographyImageStorage, urgent=0.2, findings=_CHEST),
    Examination("DX", "LSPINE", "X-quang cột sống thắt lưng thẳng nghiêng", (2, 5, 3.5, 0.2), _FILM_2,
                DigitalXRayImageStorageForPresentation, ages=(14, 120), findings=_BONE),
    Examination("DX", "CSPINE", "X-quang cột sống cổ thẳng nghiêng", (0.5, 3, 2, 0.1), _FILM_2,
                DigitalXRayImageStorageForPresentation, ages=(14, 120), findings=_BONE),
    Examination("DX", "KNEE", "X-quang khớp gối thẳng nghiêng", (1.5, 5, 3, 0.4), _FILM_2,
                DigitalXRayImageStorageForPresentation, findings=_BONE),
    Examination("DX", "HAND", "X-quang bàn tay thẳng chếch", (1, 3, 2, 0.8), _FILM_2,
                DigitalXRayImageStorageForPresentation, urgent=0.4, findings=_BONE),
    Examination("DX", "ANKLE", "X-quang cổ chân thẳng nghiêng", (1, 2.5, 2, 0.8), _FILM_2,
                DigitalXRayImageStorageForPresentation, urgent=0.4, findings=_BONE),
    Examination("DX", "PELVIS", "X-quang khung chậu thẳng", (0.2, 1.5, 1.6, 0.3), _xray("Khung chậu"),
                DigitalXRayImageStorageForPresentation, urgent=0.4, findings=_BONE),
    Examination("DX", "SKULL", "X-quang sọ thẳng nghiêng", (0.2, 1.5, 1, 0.8), _FILM_2,
                DigitalXRayImageStorageForPresentation, urgent=0.6, findings=_BONE),
    Examination("CR", "ABDOMEN", "X-quang bụng không chuẩn bị", (0.2, 1.5, 1.2, 1.4), _xray("Bụng đứng"),
                ComputedRadiographyImageStorage, urgent=0.6, findings=_OTHER),
    Examination("US", "ABDOMEN", "Siêu âm ổ bụng tổng quát", (38, 20, 14, 12), _US,
                UltrasoundImageStorage, urgent=0.15, findings=_BELLY),
    Examination("US", "UTERUS", "Siêu âm thai", (11, 5, 1.5, 30), _US,
                UltrasoundImageStorage, women_only=True, ages=(15, 47), urgent=0.1, findings=_FETUS),
    Examination("US", "NECK", "Siêu âm tuyến giáp", (3, 3, 3, 0.6), _US,
                UltrasoundImageStorage, ages=(10, 120), urgent=0, findings=_OTHER),
    Examination("US", "BREAST", "Siêu âm tuyến vú", (1, 1.6, 2, 3), _US,
                UltrasoundImageStorage, women_only=True, ages=(14, 120), urgent=0, findings=_OTHER),
    Examination("US", "HEART", "Siêu âm tim Doppler màu", (0.2, 3, 7, 3), _US_CINE,
                UltrasoundMultiFrameImageStorage, urgent=0.1, findings=_OTHER),
    Examination("US", "EXTREMITY", "Siêu âm phần mềm", (2, 1.6, 1.2, 0.8), _US,
                UltrasoundImageStorage, findings=_OTHER),
    Examination("CT", "HEAD", "CT sọ não không tiêm thuốc cản quang", (0, 4, 6.5, 0.8), _CT_PLAIN,
                CTImageStorage, urgent=0.65, findings=_HEAD),
    Examination("CT", "CHEST", "CT lồng ngực", (0, 1.6, 4.5, 0.4), _CT_PLAIN,
                CTImageStorage, ages=(3, 120), urgent=0.25, findings=_CHEST),
    Examination("CT", "ABDOMEN", "CT bụng có tiêm thuốc cản quang", (0, 1.2, 4.5, 0.6), _CT_CONTRAST,
                CTImageStorage, ages=(3, 120), urgent=0.35, findings=_BELLY),
    Examination("CT", "SINUS", "CT xoang", (0, 0.6, 1, 0.1), _CT_PLAIN,
                CTImageStorage, ages=(8, 120), urgent=0.05, findings=_OTHER),
    Examination("MR", "BRAIN", "Cộng hưởng từ sọ não", (0, 0.2, 3, 0.3), _MR,
                MRImageStorage, urgent=0.1, findings=_OTHER),
    Examination("MR", "LSPINE", "Cộng hưởng từ cột sống thắt lưng", (0, 0.25, 3.2, 0), _MR,
                MRImageStorage, ages=(14, 120), urgent=0.02, findings=_BONE),
    Examination("MR", "KNEE", "Cộng hưởng từ khớp gối", (0, 0.05, 1.2, 0), _MR,
                MRImageStorage, ages=(10, 90), urgent=0, findings=_BONE),
    Examination("XA", "HEART", "Chụp và can thiệp động mạch vành (DSA)", (0, 0, 1.4, 0),
                (Images("DSA", 14, 512, 512, 8, 0.4, frames=45),),
                XRayAngiographicImageStorage, ages=(30, 120), urgent=0.4, findings=_OTHER),
    Examination("MG", "BREAST", "Chụp nhũ ảnh hai bên", (0, 0.15, 0.8, 1.6),
                (Images("CC, MLO", 4, 3328, 2560, 16, 0.35),),
                DigitalMammographyXRayImageStorageForPresentation, women_only=True, ages=(30, 90), urgent=0,
                findings=_OTHER),
    Examination("ES", "STOMACH", "Nội soi dạ dày tá tràng", (0, 3.5, 4, 0.2),
                (Images("Nội soi", 6, 480, 640, 8, 0.15, samples=3),),
                VLEndoscopicImageStorage, ages=(12, 100), urgent=0.05, findings=_OTHER),
)  # fmt: skip

MODALITIES: Final = tuple(sorted({examination.modality for examination in EXAMINATIONS}))
SHARES: Final = {
    tier: np.cumsum([examination.shares[tier] for examination in EXAMINATIONS])
    / sum(examination.shares[tier] for examination in EXAMINATIONS)
    for tier in Tier
}
WOMEN_ONLY: Final = np.array([examination.women_only for examination in EXAMINATIONS])
YOUNGEST: Final = np.array([examination.ages[0] for examination in EXAMINATIONS])
OLDEST: Final = np.array([examination.ages[1] for examination in EXAMINATIONS])
URGENT: Final = np.array([examination.urgent for examination in EXAMINATIONS])
MODALITY_OF: Final = np.array([MODALITIES.index(examination.modality) for examination in EXAMINATIONS])
FALLBACK: Final = 10
"""Siêu âm ổ bụng: what anybody can have, where nobody was found who can have the other."""
MANUFACTURERS: Final = {
    "CT": ("SIEMENS", "SOMATOM go.Now"), "MR": ("Philips", "Ingenia Ambition"), "DX": ("Carestream", "DRX-Evolution"),
    "CR": ("FUJIFILM", "FCR Prima T2"), "US": ("GE Healthcare", "LOGIQ P9"), "XA": ("Philips", "Azurion 3"),
    "MG": ("HOLOGIC", "Selenia"), "ES": ("OLYMPUS", "CV-190"),
}  # fmt: skip
