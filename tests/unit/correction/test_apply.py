"""Corrections on the way out: right text for every reader, and everything else byte for byte (PS3.3 C.12.1.1.9)."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from archive.correction.apply import apply
from archive.correction.record import Change, Corrections
from archive.standard.coding import Coding
from archive.standard.json_model import header_json
from archive.standard.rewrite import Unicode, outline
from tests.unit.correction.encoded import CODINGS, Raw, encoded, sequence, tcvn3

AT = datetime(2026, 11, 22, 9, 30, 15, 123456, tzinfo=UTC)
NAME = tcvn3("NguyÔn^V¨n §øc")
HOSPITAL = tcvn3("BÖnh viÖn C¸i BÌ")
IDS = ["implicit", "explicit", "big endian"]
every_coding = pytest.mark.parametrize("code", CODINGS, ids=IDS)


def corrections(character_set: str | None = "TCVN3", *changes: Change) -> Corrections:
    return Corrections(character_set, changes, "XQ1", AT)


def parsed(data: bytes, code: Coding) -> Dataset:
    return read_dataset(BytesIO(data), code.implicit, code.little)


def elements(data: bytes, code: Coding) -> dict[int, bytes]:
    """Every element of the top level as it is encoded."""
    return {span.tag: data[span.offset : span.end] for span in outline(data, code)}


BASE: dict[int, Raw] = {
    0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
    0x00080080: ("LO", HOSPITAL),
    0x00081030: ("LO", tcvn3("Chôp ngùc")),
    0x00081080: ("LO", tcvn3("Viªm phæi\\Lao") + b" "),
    0x00100010: ("PN", NAME + b"=" + NAME + b"=x"),
    0x00100020: ("LO", b"123 "),
    0x00104000: ("LT", tcvn3("  dßng mét\r\ndßng hai ")),
    0x00280010: ("US", b"\x10\x00"),
    0x00291011: ("UN", tcvn3("§øc")),
    0x00400275: sequence(
        {0x00321060: ("LO", tcvn3("Néi soi")), 0x00400008: sequence({0x00080104: ("LO", tcvn3("bông"))})},
        {0x00080100: ("SH", b"A1"), 0x00080104: ("LO", b"plain ")},
    ),
}


@every_coding
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("declared", [None, b"", b"ISO_IR 100", b"ISO_IR 6"])
def test_text_is_right_at_every_depth_and_nothing_else_changes(
    code: Coding, undefined: bool, declared: bytes | None
) -> None:
    given = BASE | ({} if declared is None else {0x00080005: ("CS", declared)})
    before = encoded(given, code, undefined=undefined)
    after, trailer = apply(corrections(), before, b"", code)
    assert trailer == b""
    ds = parsed(after, code)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.InstitutionName == "Bệnh viện Cái Bè"
    assert list(ds.AdmittingDiagnosesDescription) == ["Viêm phổi", "Lao"]
    assert str(ds.PatientName) == "Nguyễn^Văn Đức=Nguyễn^Văn Đức=x"
    # Leading spaces and line breaks belong to LT.
    assert ds.PatientComments == "  dòng một\r\ndòng hai"
    first, second = ds.RequestAttributesSequence
    assert first.RequestedProcedureDescription == "Nội soi"
    assert first.ScheduledProtocolCodeSequence[0].CodeMeaning == "bụng"
    assert second.CodeMeaning == "plain"
    untouched = {0x00080016, 0x00100020, 0x00280010, 0x00291011}
    assert {tag: elements(after, code)[tag] for tag in untouched} == {
        tag: elements(before, code)[tag] for tag in untouched
    }
    assert list(elements(after, code)) == sorted(elements(after, code))
    assert len(after) % 2 == 0


@every_coding
def test_what_was_declared_before_is_told(code: Coding) -> None:
    before = encoded(BASE | {0x00080005: ("CS", b"ISO_IR 100")}, code)
    (item,) = parsed(apply(corrections(), before, b"", code)[0], code).OriginalAttributesSequence
    assert item.ReasonForTheAttributeModification == "CORRECT"
    assert item.SourceOfPreviousValues == "XQ1"
    assert item.AttributeModificationDateTime == "20261122093015.123456+0000"
    assert item.ModifyingSystem == "VN_PACS_1"
    (modified,) = item.ModifiedAttributesSequence
    assert [element.keyword for element in modified] == ["SpecificCharacterSet"]
    assert modified.SpecificCharacterSet == "ISO_IR 100"


@every_coding
def test_an_object_in_plain_ascii_is_not_touched(code: Coding) -> None:
    before = encoded({0x00100010: ("PN", b"NGUYEN^VAN AN "), 0x00400275: sequence({0x00080104: ("LO", b"x ")})}, code)
    assert apply(corrections(), before, b"", code) == (before, b"")


@every_coding
def test_an_item_that_names_a_character_set_means_it_where_the_object_names_none(code: Coding) -> None:
    item = {0x00080005: ("CS", b"ISO_IR 100"), 0x00080104: ("LO", "Hélène".encode("latin-1"))}
    before = encoded({0x00100010: ("PN", NAME), 0x00400275: sequence(item)}, code)
    ds = parsed(apply(corrections(), before, b"", code)[0], code)
    assert ds.RequestAttributesSequence[0].CodeMeaning == "Hélène"
    assert ds.RequestAttributesSequence[0].SpecificCharacterSet == "ISO_IR 192"
    assert str(ds.PatientName) == "Nguyễn^Văn Đức"
    # A device that names a wrong one names it in items, too.
    wrong = {0x00080005: ("CS", b"ISO_IR 100"), 0x00080104: ("LO", tcvn3("§øc"))}
    before = encoded({0x00080005: ("CS", b"ISO_IR 100"), 0x00400275: sequence(wrong)}, code)
    assert parsed(apply(corrections(), before, b"", code)[0], code).RequestAttributesSequence[0].CodeMeaning == "Đức"


@pytest.mark.parametrize("code", CODINGS[1:], ids=IDS[1:])
@pytest.mark.parametrize("undefined", [False, True])
def test_text_in_un_is_known_by_its_tag(code: Coding, undefined: bool) -> None:
    given = {
        0x00080080: ("UN", HOSPITAL),
        0x00090010: ("LO", b"SIEMENS CT VA0 COAD "),
        0x00100010: ("PN", NAME),
        0x00400275: sequence({0x00321060: ("LO", tcvn3("Néi soi"))}, vr="UN"),
    }
    after = apply(corrections(), encoded(given, code, undefined=undefined), b"", code)[0]
    found = header_json(after, ExplicitVRLittleEndian if code.little else ExplicitVRBigEndian, None)
    assert found["00080080"]["Value"] == ["Bệnh viện Cái Bè"]
    assert found["00400275"]["Value"][0]["00321060"]["Value"] == ["Nội soi"]
    if code.little:  # pydicom does not read sequences in UN in big endian
        ds = parsed(after, code)
        assert ds.InstitutionName == "Bệnh viện Cái Bè"
        assert ds.RequestAttributesSequence[0].RequestedProcedureDescription == "Nội soi"


def test_a_private_element_that_pydicom_knows_is_rewritten_as_readers_will_read_it() -> None:
    code = CODINGS[0]
    creator = "GEMS_PARM_01"
    assert pydicom.datadict.private_dictionary_VR(0x0043102D, creator) == "SH"
    given = {
        0x00430010: ("LO", creator.encode()),
        0x0043102D: ("SH", tcvn3("§øc")),
        0x004310FE: ("LO", tcvn3("§øc")),
        0x0043112D: ("SH", tcvn3("§øc")),
    }
    before = encoded(given, code)
    after = apply(corrections(), before, b"", code)[0]
    assert parsed(after, code)[0x0043102D].value == "Đức"
    # Nobody knows what these are, for nobody reserved the second block.
    assert all(elements(after, code)[tag] == elements(before, code)[tag] for tag in (0x004310FE, 0x0043112D))


@every_coding
def test_text_that_is_no_text_of_the_character_set_comes_as_well_as_it_can_be_read(code: Coding) -> None:
    given = {0x00080080: ("LO", b"\xd5\xdbx"), 0x00100010: ("PN", "Đức".encode())}
    ds = parsed(apply(corrections("VNI"), encoded(given, code), b"", code)[0], code)
    assert str(ds.PatientName) == "Đức"
    assert ds.InstitutionName == "ƠÛx"  # a guess: Windows-1258


@pytest.mark.parametrize("code", CODINGS[1:], ids=IDS[1:])
def test_a_text_that_outgrows_its_length_field_becomes_un(code: Coding) -> None:
    long = tcvn3("§") * 65532
    after = apply(corrections(), encoded({0x00104000: ("LT", long)}, code), b"", code)[0]
    (span,) = (span for span in outline(after, code) if span.tag == 0x00104000)
    assert after[span.start : span.end].decode() == "Đ" * 65532
    # PS3.5 6.2.2: a value too long for its VR.
    assert after[span.offset + 4 : span.offset + 6] == b"UN"


@every_coding
def test_right_group_lengths_stay_right(code: Coding) -> None:
    group = encoded({tag: BASE[tag] for tag in (0x00100010, 0x00100020)}, code)
    length = len(group).to_bytes(4, "little" if code.little else "big")
    before = code.element(0x00100000, "UL", length) + group + encoded({0x00280010: ("US", b"\1\0")}, code)
    after = apply(corrections(None, Change(0x00100021, "LO", "", "Tỉnh 87", "set")), before, b"", code)[0]
    ds = parsed(after, code)
    spans = {span.tag: span for span in outline(after, code)}
    assert ds[0x00100000].value == spans[0x00100021].end - spans[0x00100000].end
    assert ds.IssuerOfPatientID == "Tỉnh 87"


@every_coding
def test_padding_and_elements_behind_the_pixels_are_kept(code: Coding) -> None:
    header = encoded({0x00100010: ("PN", NAME)}, code) + bytes(10)
    trailer = encoded({0xFFFCFFFC: ("OB", b"\0\0")}, code) + bytes(6)
    after, behind = apply(corrections(), header, trailer, code)
    assert after.endswith(bytes(10))
    assert behind == trailer
    text = encoded({0x7FE10010: ("LO", NAME)}, code)
    assert "Nguyễn" in apply(corrections(), header, text, code)[1].decode("utf-8", "replace")


# -- corrected values ----------------------------------------------------------------------------------------------


@every_coding
@pytest.mark.parametrize("undefined", [False, True])
def test_attributes_are_set_added_and_removed_and_the_originals_told(code: Coding, undefined: bool) -> None:
    before = encoded(BASE | {0x00080005: ("CS", b"ISO_IR 192")}, code, undefined=undefined)
    plain = BASE | {
        tag: ("LO", b"ascii ") for tag, (vr, _) in BASE.items() if vr in ("LO", "PN", "LT") and tag != 0x00100020
    }
    before = encoded(plain | {0x00400275: sequence()}, code, undefined=undefined)
    made = corrections(
        None,
        Change(0x00080050, "SH", "", "ACC1", "worklist 7"),
        Change(0x00100020, "LO", "123", "TYT05-123", "prefix"),
        Change(0x00100021, "LO", "", "87", "set"),
        Change(0x00104000, "LT", "ascii", None, "remove"),
    )
    after = apply(made, before, b"", code)[0]
    ds = parsed(after, code)
    assert (ds.AccessionNumber, ds.PatientID, ds.IssuerOfPatientID) == ("ACC1", "TYT05-123", "87")
    assert "PatientComments" not in ds
    assert "SpecificCharacterSet" not in ds
    (item,) = ds.OriginalAttributesSequence
    assert item.ReasonForTheAttributeModification == "COERCE"
    (modified,) = item.ModifiedAttributesSequence
    assert [(element.keyword, element.value) for element in modified] == [
        ("AccessionNumber", ""),
        ("PatientID", "123"),
        ("IssuerOfPatientID", ""),
        ("PatientComments", "ascii"),
    ]
    changed = {change.tag for change in made.changes} | {0x04000561}
    assert {tag: raw for tag, raw in elements(after, code).items() if tag not in changed} == {
        tag: raw for tag, raw in elements(before, code).items() if tag not in changed
    }


@every_coding
def test_a_vietnamese_value_in_an_object_of_another_character_set_turns_all_text_to_utf_8(code: Coding) -> None:
    given = {
        0x00080005: ("CS", b"ISO_IR 100"),
        0x00080080: ("LO", b"X "),
        0x00100010: ("PN", "Hélène".encode("latin-1")),
    }
    made = corrections(None, Change(0x00080080, "LO", "X", "Trạm Y tế", "set"))
    ds = parsed(apply(made, encoded(given, code), b"", code)[0], code)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert (ds.InstitutionName, str(ds.PatientName)) == ("Trạm Y tế", "Hélène")
    charset, values = ds.OriginalAttributesSequence
    assert charset.ModifiedAttributesSequence[0].SpecificCharacterSet == "ISO_IR 100"
    assert values.ModifiedAttributesSequence[0].InstitutionName == "X"


@every_coding
@pytest.mark.parametrize("undefined", [False, True])
def test_original_attributes_that_others_have_told_are_kept(code: Coding, undefined: bool) -> None:
    earlier = {
        0x04000550: sequence({0x00100010: ("PN", NAME)}),
        0x04000563: ("LO", b"OTHER "),
        0x04000565: ("CS", b"COERCE"),
    }
    before = encoded(BASE | {0x04000561: sequence(earlier)}, code, undefined=undefined)
    made = corrections("TCVN3", Change(0x00100020, "LO", "123", "9", "set"))
    first, charset, values = parsed(apply(made, before, b"", code)[0], code).OriginalAttributesSequence
    assert first.ModifyingSystem == "OTHER"
    assert str(first.ModifiedAttributesSequence[0].PatientName) == "Nguyễn^Văn Đức"
    assert charset.ReasonForTheAttributeModification == "CORRECT"
    assert values.ModifiedAttributesSequence[0].PatientID == "123"


@every_coding
def test_an_institution_code_is_a_sequence_of_one_code(code: Coding) -> None:
    made = corrections(None, Change(0x00080082, "SQ", "", "87105\\99BYT\\Trạm Y tế xã", "institution_code"))
    (item,) = parsed(
        apply(made, encoded({0x00100020: ("LO", b"1 ")}, code), b"", code)[0], code
    ).InstitutionCodeSequence
    assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == ("87105", "99BYT", "Trạm Y tế xã")


# -- anything ------------------------------------------------------------------------------------------------------

_text = st.binary(max_size=12).map(lambda value: value.replace(b"\x1b", b"x"))
_leaf = st.one_of(
    st.tuples(st.just(0x00080080), st.tuples(st.just("LO"), _text)),
    st.tuples(st.just(0x00100010), st.tuples(st.sampled_from(["PN", "UN"]), _text)),
    st.tuples(st.just(0x00104000), st.tuples(st.just("LT"), _text)),
    st.tuples(st.just(0x00280010), st.tuples(st.just("US"), st.binary(min_size=2, max_size=2))),
    st.tuples(st.just(0x00420011), st.tuples(st.just("OB"), st.binary(max_size=20))),
    st.tuples(st.just(0x00091010), st.tuples(st.just("UN"), st.binary(max_size=20))),
)
_datasets = st.recursive(
    st.lists(_leaf, max_size=4).map(dict),
    lambda items: st.tuples(
        st.lists(_leaf, max_size=4).map(dict), st.lists(items, max_size=2), st.sampled_from([0x00400275, 0x00081115])
    ).map(lambda made: made[0] | {made[2]: ("SQ", tuple(made[1]))}),
    max_leaves=6,
)


@given(_datasets, st.sampled_from(CODINGS), st.booleans(), st.sampled_from(["TCVN3", "windows-1258", "VNI"]))
def test_whatever_it_holds_it_stays_a_dataset_and_only_text_differs(
    given_elements: dict[int, Raw], code: Coding, undefined: bool, character_set: str
) -> None:
    before = encoded(given_elements, code, undefined=undefined)
    text = Unicode([character_set], whatever_items_say=False)
    after = text.rewrite(before, code)
    assert text.changed == (after != before)
    _compare(parsed(before, code), parsed(after, code))
    # What is in UTF-8 stays what it is: nothing is converted twice.
    assert Unicode(["ISO_IR 192"], whatever_items_say=False).rewrite(after, code) == after


def _compare(before: Dataset, after: Dataset) -> None:
    assert list(before.keys()) == list(after.keys())
    for tag in before.keys():  # noqa: SIM118  it is no dict
        old, new = before.get_item(tag), after.get_item(tag)
        if tag in (0x00400275, 0x00081115):
            assert len(before[tag].value) == len(after[tag].value)
            for one, other in zip(before[tag].value, after[tag].value, strict=True):
                _compare(one, other)
        elif tag in (0x00080080, 0x00100010, 0x00104000):
            text = (new.value or b"").decode()
            assert unicodedata.is_normalized("NFC", text)
            if (old.value or b"").isascii():
                assert new.value == old.value
        else:
            assert old.value == new.value


@given(st.binary(max_size=200), st.sampled_from(CODINGS))
def test_bytes_that_are_no_dataset_are_given_as_they_are_or_stay_readable(data: bytes, code: Coding) -> None:
    Unicode(["TCVN3"], whatever_items_say=True).rewrite(data, code)


@every_coding
def test_a_sequence_that_breaks_off_is_copied(code: Coding) -> None:
    broken = code.item_header(100) + b"xx" + NAME
    before = encoded({0x00100010: ("PN", NAME), 0x00400275: ("SQ", broken + bytes(len(broken) % 2))}, code)
    after = apply(corrections(), before, b"", code)[0]
    assert broken in after
    assert (
        str(parsed(after[: after.index(broken) - (8 if code.implicit else 12)], code).PatientName) == "Nguyễn^Văn Đức"
    )
