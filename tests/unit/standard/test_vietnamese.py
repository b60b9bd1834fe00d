"""Vietnamese from before Unicode: every letter, both cases, and what real words look like in it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.standard.text import decode_checked, decode_whole, encodable
from archive.standard.vietnamese import NAMES, decode_legacy
from config.character_sets import LEGACY

TONES = ("", "\u0300", "\u0301", "\u0309", "\u0303", "\u0323")
VOWELS = "aăâeêioôơuưy"
SMALL = [unicodedata.normalize("NFC", vowel + tone) for vowel in VOWELS for tone in TONES] + ["đ"]
CAPITALS = [letter.upper() for letter in SMALL]
# How each letter looks where the bytes are taken for Windows-1252: what users of the fonts know them by.
AS_SEEN = {
    "TCVN3": "a µ ¸ ¶ · ¹ ¨ » ¾ ¼ ½ Æ © Ç Ê È É Ë e Ì Ð Î Ï Ñ ª Ò Õ Ó Ô Ö i × Ý Ø Ü Þ o ß ã á â ä « å è æ ç é ¬ ê í ë ì î "
    "u ï ó ñ ò ô \xad õ ø ö ÷ ù y ú ý û ü þ ®",
    "VNI": "a aø aù aû aõ aï aê aè aé aú aü aë aâ aà aá aå aã aä e eø eù eû eõ eï eâ eà eá eå eã eä i ì í æ ó ò "
    "o oø où oû oõ oï oâ oà oá oå oã oä ô ôø ôù ôû ôõ ôï u uø uù uû uõ uï ö öø öù öû öõ öï y yø yù yû yõ î ñ",
}
SEEN = {
    name: dict(zip(SMALL, (seen.encode("cp1252") for seen in line.split(" ")), strict=True))
    for name, line in AS_SEEN.items()
}
# TCVN3 has capitals without tone marks only; the marked ones that our table has are those of VN1.
TCVN3_CAPITALS = dict(zip("ĂÂÊÔƠƯĐ", "¡¢£¤¥¦§", strict=True))


def test_there_are_134_letters_with_marks_and_what_carries_none() -> None:
    assert len(set(SMALL + CAPITALS)) == 146
    assert len([letter for letter in SMALL + CAPITALS if not letter.isascii()]) == 134


@pytest.mark.parametrize("name", AS_SEEN)
@pytest.mark.parametrize("letter", SMALL)
def test_every_small_letter(name: str, letter: str) -> None:
    assert decode_legacy(SEEN[name][letter], name) == letter
    assert decode_legacy(b"x" + SEEN[name][letter] + b"n", name) == f"x{letter}n"


@pytest.mark.parametrize("letter", SMALL)
def test_every_capital_letter_of_vni(letter: str) -> None:
    written = SEEN["VNI"][letter].decode("cp1252").upper().encode("cp1252")
    assert decode_legacy(written, "VNI") == letter.upper()


@pytest.mark.parametrize(("letter", "seen"), TCVN3_CAPITALS.items())
def test_every_capital_letter_that_tcvn3_has(letter: str, seen: str) -> None:
    assert decode_legacy(seen.encode("cp1252"), "TCVN3") == letter


@pytest.mark.parametrize("letter", SMALL + CAPITALS)
def test_every_letter_of_windows_1258(letter: str) -> None:
    # Windows-1258 has ă â ê ô ơ ư đ and some marked vowels in one byte; the other tone marks follow.
    apart = unicodedata.normalize("NFD", letter)
    for base in (unicodedata.normalize("NFC", apart[:2]), apart[:1]):
        rest = apart[len(unicodedata.normalize("NFD", base)) :]
        marks = "".join(mark for mark in apart[1:] if mark not in unicodedata.normalize("NFD", base))
        try:
            written = (base + (marks or rest)).encode("cp1258")
        except UnicodeEncodeError:
            continue
        assert decode_legacy(written, "windows-1258") == letter
    dotted = unicodedata.normalize("NFC", apart.replace("\u0323", ""))
    if "\u0323" in apart:
        assert decode_legacy((dotted + "\u0323").encode("cp1258"), "windows-1258") == letter


@pytest.mark.parametrize("letter", SMALL + CAPITALS)
def test_viscii_has_every_letter_in_one_byte(letter: str) -> None:
    found = [byte for byte in range(256) if decode_legacy(bytes([byte]), "VISCII") == letter]
    assert len(found) == 1
    assert decode_checked(bytes(found), "PN", ["VISCII"]) == (letter, False)


@pytest.mark.parametrize(
    ("name", "written", "text"),
    [
        ("TCVN3", "NguyÔn^V¨n §øc", "Nguyễn^Văn Đức"),
        ("TCVN3", "TrÇn^ThÞ BÝch Ph\xad¬ng", "Trần^Thị Bích Phương"),
        ("TCVN3", "§ç^Hoµng Hîp", "Đỗ^Hoàng Hợp"),
        ("TCVN3", "BÖnh viÖn §a khoa huyÖn C¸i BÌ", "Bệnh viện Đa khoa huyện Cái Bè"),
        ("VNI", "Nguyeãn^Vaên Ñöùc", "Nguyễn^Văn Đức"),
        ("VNI", "TRAÀN^THÒ BÍCH PHÖÔNG", "TRẦN^THỊ BÍCH PHƯƠNG"),
        ("VNI", "Leâ^Thò Kyõ Duyeân", "Lê^Thị Kỹ Duyên"),
        ("VNI", "Chuïp X quang ngöïc thaúng", "Chụp X quang ngực thẳng"),
        ("VNI", "KHOA CHAÅN ÑOAÙN HÌNH AÛNH", "KHOA CHẨN ĐOÁN HÌNH ẢNH"),
        ("VNI", "Taï Thò Lyù", "Tạ Thị Lý"),
        # A mark of the other case is a slip that nobody sees on paper.
        ("VNI", "NGUYEãN", "NGUYỄN"),
        ("VNI", "37°C – 5µm", "37°C – 5µm"),
        # The two spellings that Windows has: marks behind the letter, or in it.
        ("windows-1258", "Nguyê\xden Văn Đư\u0301c", None),
    ],
)
def test_words(name: str, written: str, text: str | None) -> None:
    if text is None:
        assert decode_legacy("Nguyê\u0303n Văn Đư\u0301c".encode("cp1258"), name) == "Nguyễn Văn Đức"
    else:
        assert decode_legacy(written.encode("cp1252"), name) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        # In a font of capitals (.VnTimeH) small codes were typed. The ASCII letters show what was meant ...
        ("NGUYÔN^V¡N §øC", "NGUYỄN^VĂN ĐỨC"),
        ("Lª THÞ Hµ", "LÊ THỊ HÀ"),
        ("NGUYÔN V¨N A=Nguyen Van A", "NGUYỄN VĂN A=Nguyen Van A"),
        ("NGUYÔN V¨N A\\NguyÔn V¨n A", "NGUYỄN VĂN A\\Nguyễn Văn A"),
        # ... where they do; in these nothing does, and the bytes say small letters.
        ("Lª", "Lê"),
        ("Lª Hµ", "Lê Hà"),
        ("nguyÔn v¨n ®øc", "nguyễn văn đức"),
        ("V¨n Lª", "Văn Lê"),
    ],
)
def test_capitals_of_tcvn3_as_far_as_they_can_be_known(written: str, text: str) -> None:
    assert decode_legacy(written.encode("cp1252"), "TCVN3") == text


@pytest.mark.parametrize("name", ["TCVN3", "VNI", "windows-1258"])
@given(st.lists(st.sampled_from([*SMALL, "b", "c", "h", "n", "^", "\\", "=", " "]), max_size=30))
def test_text_comes_back(name: str, letters: list[str]) -> None:
    text = unicodedata.normalize("NFC", "".join(letters))
    written = (
        b"".join(_seen(name, letter) for letter in text)
        if name in SEEN
        else b"".join(_windows(letter) for letter in text)
    )
    assert decode_legacy(written, name) == text


def _windows(letter: str) -> bytes:
    apart = unicodedata.normalize("NFD", letter)
    tone = "".join(mark for mark in apart[1:] if mark in TONES)
    base = unicodedata.normalize("NFC", "".join(char for char in apart if char not in tone))
    return (base + tone).encode("cp1258")


@given(st.binary(max_size=64), st.sampled_from(sorted(NAMES)))
def test_nothing_is_raised_and_all_is_nfc(value: bytes, name: str) -> None:
    text = decode_legacy(value, name)
    assert text is None or unicodedata.is_normalized("NFC", text)
    found, _, _ = decode_whole(value, "LO", [name])
    assert unicodedata.is_normalized("NFC", found)


@given(st.text(st.sampled_from([*SMALL, *CAPITALS, " ", "^", "n", "T"]), min_size=1))
def test_utf_8_is_recognised_whatever_old_character_set_is_assumed(text: str) -> None:
    for name in NAMES:
        found, lossy, fits = decode_whole(text.encode(), "PN", [name])
        assert (found, lossy) == (unicodedata.normalize("NFC", text), False)
        assert not fits or text.isascii()


@pytest.mark.parametrize("name", ["TCVN3", "VNI", "windows-1258"])
@pytest.mark.parametrize(
    "syllables", ["đường", "Nguyễn", "Trần", "người", "khuỷu", "thượng", "ướt", "Đỗ", "Đặng", "đă"]
)
def test_old_text_is_never_taken_for_utf_8(name: str, syllables: str) -> None:
    if name == "windows-1258":
        written = b"".join(_windows(letter) for letter in syllables)
    else:
        written = b"".join(_seen(name, letter) for letter in syllables)
    assert decode_whole(written, "PN", [name]) == (syllables, False, True)


def _seen(name: str, letter: str) -> bytes:
    if letter.isascii():
        return letter.encode()
    if letter in SEEN[name]:
        return SEEN[name][letter]
    if name == "TCVN3":
        return TCVN3_CAPITALS.get(letter, letter).encode("cp1252")
    return SEEN[name].get(letter.lower(), letter.encode()).decode("cp1252").upper().encode("cp1252")


@pytest.mark.parametrize("written", [b"\xd5x", b"x\xdbz", b"\xe9"])
def test_what_makes_no_sense_in_vni_is_not_vni(written: bytes) -> None:
    assert decode_legacy(written, "VNI") is None


def test_no_answer_is_written_in_a_character_set_that_dicom_does_not_know() -> None:
    assert all(encodable("Đức", name) is None for name in NAMES)


def test_the_settings_know_the_same_names() -> None:
    assert set(LEGACY) == NAMES
