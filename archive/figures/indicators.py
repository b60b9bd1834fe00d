"""What figures are called, and in what they are told, in Vietnamese and English. `docs/indicators.md` defines each."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from archive.figures.question import By, Measure

Language = Literal["vi", "en"]


_BREAKDOWNS: Final = frozenset(each.value for each in By)


class Name(NamedTuple):
    """A title in both languages, and the unit."""

    vi: str
    en: str
    unit: Literal["", "studies", "persons", "instances", "bytes", "minutes", "looks"] = ""

    def title(self, language: str) -> str:
        """In this language."""
        return self.en if language == "en" else self.vi


MEASURES: Final[dict[Measure, Name]] = {
    Measure.STUDIES: Name("Số ca chụp", "Studies", "studies"),
    Measure.PATIENTS: Name("Số người bệnh", "Patients", "persons"),
    Measure.INSTANCES: Name("Số ảnh", "Instances", "instances"),
    Measure.BYTES: Name("Dung lượng", "Storage", "bytes"),
    Measure.ORDER_TO_IMAGES: Name("Chỉ định → ảnh (trung vị)", "Order to images (median)", "minutes"),
    Measure.IMAGES_TO_REPORT: Name("Ảnh → kết quả (trung vị)", "Images to report (median)", "minutes"),
    Measure.ORDER_TO_REPORT: Name("Chỉ định → kết quả (trung vị)", "Order to report (median)", "minutes"),
    Measure.ORDER_TO_IMAGES_P90: Name("Chỉ định → ảnh (90%)", "Order to images (90%)", "minutes"),
    Measure.IMAGES_TO_REPORT_P90: Name("Ảnh → kết quả (90%)", "Images to report (90%)", "minutes"),
    Measure.ORDER_TO_REPORT_P90: Name("Chỉ định → kết quả (90%)", "Order to report (90%)", "minutes"),
    Measure.REPORTED: Name("Số ca có kết quả", "Reported", "studies"),
    Measure.UNREAD: Name("Số ca chưa đọc", "Unread", "studies"),
    Measure.TELE_READ: Name("Số ca đọc từ xa", "Tele-read", "studies"),
    Measure.DELIVERED: Name("Số ca đã trả kết quả ảnh", "Delivered", "studies"),
    Measure.FILMLESS: Name("Số ca không in phim", "Filmless", "studies"),
    Measure.DUPLICATES_FOUND: Name("Số ca chụp trùng lặp", "Duplicates found", "studies"),
    Measure.DUPLICATES_AVOIDED: Name("Số ca tránh chụp lại (ước tính)", "Duplicates avoided (estimate)", "looks"),
    Measure.CROSS_VIEWS: Name("Lượt xem liên cơ sở", "Cross-facility views", "looks"),
    Measure.DATA_RIGHT: Name("Dữ liệu đúng", "Data right", "studies"),
    Measure.DATA_WHOLE: Name("Dữ liệu đủ", "Data complete", "studies"),
    Measure.DATA_CLEAN: Name("Dữ liệu sạch", "Data clean", "studies"),
    Measure.DATA_ALIVE: Name("Dữ liệu sống", "Data alive", "studies"),
    Measure.COMPLETE: Name("Đúng, đủ, sạch, sống", "Right, complete, clean, alive", "studies"),
}
BREAKDOWNS: Final[dict[By, Name]] = {
    By.HOUR: Name("Giờ", "Hour"),
    By.DAY: Name("Ngày", "Day"),
    By.WEEK: Name("Tuần", "Week"),
    By.MONTH: Name("Tháng", "Month"),
    By.QUARTER: Name("Quý", "Quarter"),
    By.YEAR: Name("Năm", "Year"),
    By.HOUR_OF_DAY: Name("Giờ trong ngày", "Hour of day"),
    By.DAY_OF_WEEK: Name("Thứ trong tuần", "Day of week"),
    By.FACILITY: Name("Mã cơ sở", "Facility"),
    By.DISTRICT: Name("Địa bàn", "District"),
    By.CARE_LEVEL: Name("Cấp chuyên môn", "Care level"),
    By.MODALITY: Name("Loại máy", "Modality"),
    By.BODY_PART: Name("Bộ phận", "Body part"),
    By.SEX: Name("Giới tính", "Sex"),
    By.AGE_GROUP: Name("Nhóm tuổi", "Age group"),
}
UNITS: Final[dict[str, Name]] = {
    "studies": Name("ca", "studies"),
    "persons": Name("người", "persons"),
    "instances": Name("ảnh", "instances"),
    "bytes": Name("byte", "bytes"),
    "minutes": Name("phút", "minutes"),
    "looks": Name("lượt", "looks"),
}


def is_breakdown(column: str) -> bool:
    """Whether a column of an answer is one that it is broken down by."""
    return column in _BREAKDOWNS


def heading(column: str, language: str) -> str:
    """Of a column of an answer, with its unit."""
    if is_breakdown(column):
        return BREAKDOWNS[By(column)].title(language)
    name = MEASURES[Measure(column)]
    return f"{name.title(language)} ({UNITS[name.unit].title(language)})"
