"""Names as modalities send them: declared well, declared wrongly, or not declared (anchors, pain point 21)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archive.core import Archive
from tests.factories import SOURCE, ct_image, store_bytes
from tests.integration.archive.support import studies, value, with_raw

DUC = "Nguyễn^Văn Đức"


def _send(shared: Archive, name: bytes, declared: bytes | None, default: str | None = None) -> dict[int, str]:
    """Store an object with this name; give the key that finds its study."""
    image = ct_image(StudyDescription=None)
    image.PatientID = image.SOPInstanceUID[-20:]  # a patient of its own: a name is never changed by a later object
    given = {0x00100010: ("PN", name)} | ({0x00080005: ("CS", declared)} if declared is not None else {})
    source = replace(SOURCE, default_character_set=default)
    store_bytes(shared, with_raw(image, given), image.SOPClassUID, image.SOPInstanceUID, source=source)
    return {0x0020000D: image.StudyInstanceUID}


@pytest.mark.parametrize(
    ("declared", "name", "expected", "search"),
    [
        (b"ISO_IR 192", DUC.encode(), {"Alphabetic": DUC}, "nguyen van duc"),
        (
            b"ISO_IR 192",
            "Nguye\u0302\u0303n^Va\u0306n \u0110u\u031b\u0301c".encode(),
            {"Alphabetic": DUC},
            "NGUYEN^VAN*",
        ),
        (None, DUC.encode(), {"Alphabetic": DUC}, DUC),
        (b"", DUC.encode(), {"Alphabetic": DUC}, DUC),
        (b"ISO_IR 100", DUC.encode(), {"Alphabetic": DUC}, "nguyen van duc"),
        (b"ISO_IR 100", "Hélène^Müller".encode("latin-1"), {"Alphabetic": "Hélène^Müller"}, "helene muller"),
        (b"ISO 2022 IR 100", "Hélène^Müller".encode("latin-1"), {"Alphabetic": "Hélène^Müller"}, "helene muller"),
        (b"iso_ir 100", "Hélène".encode("latin-1"), {"Alphabetic": "Hélène"}, "HELENE"),
        (b"ISO_IR 999", DUC.encode(), {"Alphabetic": DUC}, "nguyen van duc"),
        (b"UTF-8", DUC.encode(), {"Alphabetic": DUC}, "nguyen van duc"),
        (
            b"GB18030",
            "Wang^XiaoDong=王^小东".encode("gb18030"),
            {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"},
            "王^小东",
        ),
        (
            b"ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            {"Alphabetic": "ﾔﾏﾀﾞ^ﾀﾛｳ", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"},
            "山田*",
        ),
        (
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            {"Alphabetic": "Hong^Gildong", "Ideographic": "洪^吉洞", "Phonetic": "홍^길동"},
            "hong*",
        ),
        # Windows-1258, declared by nobody: DICOM has no term for it. Tone marks follow their letters there.
        (None, "Nguyễn^Văn Đức".encode(), {"Alphabetic": DUC}, "nguyen*"),
        (None, b"Tr\xe2\xccn^V\xe3n \xd0\xfd\xecc", {"Alphabetic": "Trần^Văn Đức"}, "tran van duc"),
    ],
)
def test_the_index_holds_the_name_that_was_meant(
    shared: Archive, declared: bytes | None, name: bytes, expected: dict[str, str] | None, search: str
) -> None:
    study = _send(shared, name, declared)
    (match,) = studies(shared, study)
    if expected is not None:
        assert value(match, 0x00100010) == expected
    assert len(studies(shared, study | {0x00100010: search})) == 1


@pytest.mark.parametrize(
    ("default", "encoding"), [("ISO_IR 192", "utf-8"), ("GB18030", "gb18030"), ("ISO_IR 100", "latin-1")]
)
def test_the_peer_s_default_applies_where_nothing_is_declared(shared: Archive, default: str, encoding: str) -> None:
    name = {"utf-8": DUC, "gb18030": "王^小东", "latin-1": "Hélène"}[encoding]
    study = _send(shared, name.encode(encoding), None, default)
    (match,) = studies(shared, study)
    assert value(match, 0x00100010) == {"Alphabetic": name}
    corrections = shared.locate(study[0x0020000D])[0].corrections
    assert corrections is not None and corrections.character_set == default


def test_what_is_declared_wins_over_the_peer_s_default(shared: Archive) -> None:
    study = _send(shared, "Hélène".encode("latin-1"), b"ISO_IR 100", "GB18030")
    assert value(studies(shared, study)[0], 0x00100010) == {"Alphabetic": "Hélène"}


@pytest.mark.parametrize(
    "declared", [None, b"ISO_IR 192", b"ISO_IR 100", b"GB18030", b"ISO 2022 IR 87", b"ISO_IR 13", b"nonsense"]
)
@pytest.mark.parametrize(
    "name", [b"\xff\xfe\xfd^\x80\x81", b"\x1b$B\xff", b"\x1b", b"\x8f\xa1^\x81", b"\x84\x31\xa4\x37\x81\x30"]
)
def test_bytes_that_are_no_text_of_any_kind_are_no_error(shared: Archive, declared: bytes | None, name: bytes) -> None:
    study = _send(shared, name, declared)
    assert len(studies(shared, study)) == 1
