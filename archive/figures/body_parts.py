"""Which part of the body a study is of, in a dozen words, whatever its senders write.

Body Part Examined (0018,0015) has defined terms (PS3.16 Annex L) which devices abbreviate, misspell or leave out; then
the description tells, in Vietnamese with or without accents, or in English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from archive.standard.text import fold

PARTS: Final = (
    *("HEAD", "NECK", "CHEST", "BREAST", "HEART", "ABDOMEN", "PELVIS", "SPINE"),
    *("UPPER LIMB", "LOWER LIMB", "VESSELS", "WHOLE BODY", "OTHER"),
)
_WORDS: Final[dict[str, str]] = {
    "WHOLE BODY": "WHOLEBODY|WHOLE BODY|TOAN THAN|PAN SCAN|HEAD TO TOE",
    "BREAST": "BREASTS?|MAMMO[A-Z]*|TUYEN VU|VU|NHU ANH",
    "HEART": "HEART|CARDIAC|CORONARY|TIM|MACH VANH|ECHO TIM|ECHOCARDIO\\w*",
    "VESSELS": "AORTA|VESSELS?|CAROTID|ANGIO(GRAPHY)?|MACH MAU|DONG MACH|TINH MACH|DMC|DSA",
    "SPINE": r"[CTL]?-?SPINES?|CSPINE|TSPINE|LSPINE|SSPINE|LUMBAR|CERVICAL|THORACIC SPINE|SACRUM|COCCYX|COLUMN|"
    r"CSTL|COT SONG( [A-Z]+)*|CSC|CSN|DOT SONG|TLSPINE|LSSPINE",
    "CHEST": "CHEST|THORAX|LUNGS?|RIBS?|STERNUM|NGUC|PHOI|TIM PHOI|XUONG SUON|LONG NGUC|MEDIASTINUM|TRUNG THAT",
    "HEAD": r"HEAD|BRAIN|SKULL|SKUL?|FACE|FACIAL|ORBITS?|SINUS(ES)?|JAW|MANDIBLE|MAXILLA|TEETH|DENTAL|EARS?|EYES?|NOSE|"
    r"PITUITARY|IAC|SO(?! HOA)(?! \d)|SO NAO|NAO|DAU MAT CO|XOANG|RANG|HAM|HAM MAT|MAT|TAI MUI HONG|THAI DUONG|MUI|"
    r"BLONDEAU|HIRTZ|TMJ|TUYEN YEN",
    "NECK": "NECK|THYROID|LARYNX|PHARYNX|TRACHEA|VUNG CO|PHAN MEM CO|TUYEN GIAP|THANH QUAN|VOM HONG|HONG",
    "ABDOMEN": r"ABDOMEN\w*|ABD|ABDO|LIVER|GALLBLADDER|PANCREAS|SPLEEN|KIDNEYS?|STOMACH|COLON|ESOPHAGUS|BOWEL|"
    r"KUB|RENAL|"
    r"URINARY TRACT|BUNG|O BUNG|GAN|MAT TUY|GAN MAT|TUI MAT|DUONG MAT|TUY|LACH|THAN|DA DAY|DAI TRANG|THUC QUAN|"
    r"RUOT|HE TIET NIEU|TIET NIEU|UIV",
    "PELVIS": r"PELVIS|PELVIC|BLADDER|PROSTATE|UTERUS|OVAR[A-Z]+|SCROTUM|TESTIS|FETUS|OB|OBSTETRIC\w*|KHUNG CHAU|CHAU|"
    r"TIEU KHUNG|BANG QUANG|TIEN LIET TUYEN|TU CUNG|BUONG TRUNG|THAI|PHAN PHU|TINH HOAN",
    "UPPER LIMB": r"SHOULDERS?|CLAVICLE|SCAPULA|HUMERUS|ARMS?|ELBOWS?|FOREARM|WRISTS?|HANDS?|FINGERS?|THUMB|"
    r"UPPER ?EXTREMITY|"
    r"EXTREMITY|VAI|KHOP VAI|XUONG DON|CANH TAY|KHUYU|CANG TAY|CO TAY|BAN TAY|NGON TAY|TAY|CHI TREN",
    "LOWER LIMB": r"HIPS?|FEMUR|THIGH|KNEES?|PATELLA|LEGS?|TIBIA|FIBULA|ANKLES?|FOOT|FEET|TOES?|CALCANEUS|HEEL|CALF|"
    r"LOWER ?EXTREMITY|HANG|KHOP HANG|DUI|XUONG DUI|GOI|KHOP GOI|CANG CHAN|CO CHAN|BAN CHAN|GOT|NGON CHAN|"
    r"CHAN(?! DOAN)|CHI DUOI",
}
# Words that mean something else without accents are not here: "có" (with) is no "cổ" (neck), "tại" (at) no "tai" (ear).
# The longest word counts: "co chan" is an ankle, "tui mat" no face.
_LIST: Final = sorted(
    ((word, part) for part, words in _WORDS.items() for word in words.split("|")), key=lambda each: -len(each[0])
)
_PATTERNS: Final = [(re.compile(rf"(?<![A-Z]){word}(?![A-Z])"), part) for word, part in _LIST]
_EMPTY: Final = frozenset(("", "NONE", "UNKNOWN", "UNSPECIFIED", "OTHER", "N/A", "NA", "DEFAULT"))


def body_part(examined: str, descriptions: Iterable[str] = ()) -> str:
    """One of `PARTS`; ``OTHER`` for what is told and not known here, empty where nothing is told."""
    found = _found(examined)
    if found and found != "OTHER":
        return found
    for description in descriptions:
        told = _found(description)
        if told and told != "OTHER":
            return told
    return found


@lru_cache(maxsize=16384)
def _found(text: str) -> str:
    plain = re.sub(r"[_/^.,;()+]+", " ", fold(text)).strip()
    if plain in _EMPTY:
        return ""
    matches = (
        (match.start(), -len(match.group()), part) for pattern, part in _PATTERNS if (match := pattern.search(plain))
    )
    best = min(matches, default=None, key=lambda each: (each[1], each[0]))
    return best[2] if best else "OTHER"
