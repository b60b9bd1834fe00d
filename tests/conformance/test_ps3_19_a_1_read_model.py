"""The Native DICOM Model as others send it (PS3.19 A.1): read back what is written, read what is sloppy, refuse the rest."""

from __future__ import annotations

import contextlib
import math
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.errors import CannotParse
from archive.standard.json_model import dataset_json
from archive.standard.walk import MAX_DEPTH
from archive.standard.xml_model import NAMESPACE, native_xml
from archive.standard.xml_reader import read_native_xml
from tests.corpus import storage_objects

HEAD = f'<NativeDicomModel xmlns="{NAMESPACE}">'
TAIL = "</NativeDicomModel>"


def read(content: str, head: str = HEAD, tail: str = TAIL) -> dict[str, Any]:
    return read_native_xml((head + content + tail).encode())  # type: ignore[return-value]


def attribute(tag: str, vr: str, content: str, more: str = "") -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}"{more}>{content}</DicomAttribute>'


# -- there and back ----------------------------------------------------------------------------------------------------

# What a value can hold: no control characters, no backslash, no spaces at the ends, which DICOM pads with.
TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\\^=\ufffe\uffff"), min_size=1, max_size=20
).filter(lambda text: text == text.strip() and text.strip(" \t\r\n") != "")
PLAIN = TEXT.filter(str.isprintable)
COMPONENTS = (
    st.lists(PLAIN | st.just(""), min_size=1, max_size=5)
    .map("^".join)
    .filter(lambda text: bool(text.strip("^")) and not text.endswith("^"))
)
NAMES = st.dictionaries(st.sampled_from(("Alphabetic", "Ideographic", "Phonetic")), COMPONENTS, min_size=1).map(
    lambda name: {group: name[group] for group in ("Alphabetic", "Ideographic", "Phonetic") if group in name}
)


def values(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some values, empty ones between them; none at all is an attribute without Value."""
    several = st.lists(strategy | st.none(), max_size=4).filter(lambda found: not found or found[-1] is not None)
    return several.map(lambda found: {"Value": found} if found else {})


INTEGERS = {"IS": 31, "SL": 31, "SS": 15, "UL": 32, "US": 16, "SV": 63, "UV": 64}
BY_VR: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    **{vr: values(TEXT) for vr in ("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI")},
    **{vr: st.text("ab đ\n\t<&>]'\"", max_size=9).map(lambda text: {"Value": [text]} if text else {}) for vr in ("LT", "ST", "UT")},
    "UR": TEXT.map(lambda text: {"Value": [text]}),
    **{vr: values(st.integers(0 if vr[0] == "U" else -(1 << bits), (1 << bits) - 1)) for vr, bits in INTEGERS.items()},
    **{vr: values(st.floats(allow_nan=False)) for vr in ("FD", "FL")},
    "DS": values(st.floats(allow_nan=False, allow_infinity=False).map(str)),
    "AT": values(st.integers(0, (1 << 32) - 1).map(lambda tag: f"{tag:08X}")),
    "PN": values(NAMES),
    **{vr: st.binary(max_size=9).map(lambda data: {"InlineBinary": data.hex()} if data else {}) for vr in ("OB", "OW", "UN")},
    "OF": TEXT.map(lambda text: {"BulkDataURI": text}),
}  # fmt: skip


@st.composite
def datasets(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    made = {}
    for tag in draw(st.lists(st.integers(0x00080000, 0x7FE0FFFF), unique=True, max_size=6)):
        vr = draw(st.sampled_from([*BY_VR, *(["SQ"] if depth else [])]))
        if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF:
            vr = "LO"
        if vr == "SQ":
            found = draw(st.lists(datasets(depth=depth - 1), max_size=2))
            made[f"{tag:08X}"] = {"vr": vr, **({"Value": found} if found else {})}
        else:
            made[f"{tag:08X}"] = {"vr": vr, **draw(BY_VR[vr])}
    return dict(sorted(made.items()))


@settings(max_examples=300)
@given(datasets())
def test_what_is_written_is_read_back(dataset: dict[str, Any]) -> None:
    assert read_native_xml(native_xml(dataset)) == dataset


@given(st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_no_finite_number_is_read_back(number: float) -> None:
    for text in {str(number), str(number).upper(), {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number, "NaN")}:
        found = read(attribute("0018605A", "FL", f'<Value number="1">{text}</Value>'))["0018605A"]["Value"][0]
        assert found == number or (math.isnan(found) and math.isnan(number))


@pytest.mark.parametrize("path", storage_objects()[::3], ids=lambda path: path.name)
def test_the_corpus_is_read_back(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dataset_json(pydicom.dcmread(path), lambda at: "/".join(map(str, at)))
    assert plain(read_native_xml(native_xml(dataset))) == plain(dataset)


# Character sets that it lacks; a name that it writes twice; a VR that is none.
DCMTK_CANNOT = ("chrH31.dcm", "chrJapMulti.dcm", "chrX1.dcm", "SC_rgb_jpeg.dcm")


@pytest.mark.parametrize(
    "path", [path for path in storage_objects()[1::4] if path.name not in DCMTK_CANNOT], ids=lambda path: path.name
)
@pytest.mark.parametrize("namespace", [("+Xn",), ()], ids=["namespace", "none"])
def test_what_dcmtk_writes_is_read(path: Path, namespace: tuple[str, ...]) -> None:
    """The same attributes as we read from the file; DCMTK writes numbers and binary values in other words."""
    run = subprocess.run(["dcm2xml", "-nat", "+Eb", *namespace, "+U8", "+Ca", "latin-1", path], capture_output=True)
    assert run.returncode == 0, run.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = dataset_json(pydicom.dcmread(path), lambda _: "uri")
    theirs = read_native_xml(run.stdout)
    ours, theirs = plain(ours), plain(theirs)
    texts = ("CS", "DA", "LO", "PN", "SH", "UI", "TM", "IS")
    shared = [key for key in ours.keys() & theirs.keys() if ours[key]["vr"] == theirs[key]["vr"] in texts]
    shared = [key for key in shared if key != "00080005" and not int(key[:4], 16) % 2]
    assert shared
    mine, other = ({key: found[key] for key in shared} for found in (ours, theirs))
    assert mine == other


def plain(node: Any) -> Any:
    """The dataset without what XML says in other words: decimals as text, names that ended with ``^``, line breaks."""
    if isinstance(node, list):
        return [plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "vr" not in node:
        return {key: plain(value) for key, value in node.items()}
    found = {**node}
    if node["vr"] == "DS" and "Value" in node:
        found["Value"] = [None if each is None else float(each) for each in node["Value"]]
    elif node["vr"] in ("FD", "FL") and "Value" in node:
        found["Value"] = [str(each).replace("Infinity", "inf").lower() for each in node["Value"]]
    elif node["vr"] == "PN" and "Value" in node:
        trimmed = [{k: tidy(v) for k, v in (each or {}).items() if v.strip("^ ")} or None for each in node["Value"]]
        found["Value"] = trimmed
    elif node["vr"] == "SQ":
        found["Value"] = plain(node.get("Value", []))
    elif "Value" in node:
        found["Value"] = [legal(each) if isinstance(each, str) else each for each in node["Value"]]
    while isinstance(found.get("Value"), list) and found["Value"] and found["Value"][-1] is None:
        found["Value"] = found["Value"][:-1]
    return {key: value for key, value in found.items() if value not in ([], {}, None)}


def tidy(name: str) -> str:
    return "^".join(part.strip() for part in name.split("^")).rstrip("^")


def legal(text: str) -> str | None:
    """As XML 1.0 has it (2.2, 2.11), without what surrounds a value."""
    text = "".join(c if c in "\t\n\r" or c >= " " else "\ufffd" for c in text).replace("\r\n", "\n").replace("\r", "\n")
    return text.strip(" \t\r\n") or None


# -- what clients leave out or add -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "content"),
    [
        ("<NativeDicomModel>", attribute("00100020", "LO", '<Value number="1">A</Value>')),
        (f'<n:NativeDicomModel xmlns:n="{NAMESPACE}">', '<n:DicomAttribute tag="00100020" vr="LO"><n:Value number="1">A</n:Value></n:DicomAttribute>'),
        (HEAD, '<DicomAttribute tag="00100020"><Value>A</Value></DicomAttribute>'),
        (HEAD, '<DicomAttribute keyword="PatientID"><Value>A</Value></DicomAttribute>'),
        (HEAD, attribute("00100020", "LO", "\n  <Value number='1'>\n  A\n  </Value>\n")),
        (HEAD, "<!-- from the RIS -->" + attribute("00100020", "LO", "<Value><![CDATA[A]]></Value>")),
        ('<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<?x y?>' + HEAD, attribute("00100020", "LO", "<Value>&#65;</Value>")),
    ],
)  # fmt: skip
def test_what_is_clear_is_taken(head: str, content: str) -> None:
    tail = "</n:NativeDicomModel>" if head.startswith("<n:") else TAIL
    assert read(content, head, tail) == {"00100020": {"vr": "LO", "Value": ["A"]}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_the_encoding_that_the_document_declares(encoding: str) -> None:
    name = "<PersonName number='1'><Alphabetic><FamilyName>Müller</FamilyName></Alphabetic></PersonName>"
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?>{HEAD}{attribute("00100010", "PN", name)}{TAIL}'
    assert read_native_xml(text.encode(encoding))["00100010"]["Value"] == [{"Alphabetic": "Müller"}]


def test_values_come_in_the_order_of_their_numbers() -> None:
    given = attribute("00080008", "CS", '<Value number="3">C</Value><Value number="1">A</Value>')
    assert read(given)["00080008"]["Value"] == ["A", None, "C"]


def test_a_private_creator_that_only_the_attribute_names_gets_its_element() -> None:
    found = read(attribute("00091101", "LO", "<Value>x</Value>", ' privateCreator="HOSPITAL 86001"'))
    assert found["00090011"] == {"vr": "LO", "Value": ["HOSPITAL 86001"]}
    both = read(
        attribute("00091101", "LO", "<Value>x</Value>", ' privateCreator="A"')
        + attribute("00090011", "LO", "<Value>A</Value>")
    )
    assert list(both) == ["00090011", "00091101"]


def test_private_attributes_without_a_block_get_that_of_their_creator() -> None:
    """As in the example of PS3.19 A.1.6, and as DCMTK writes them."""
    found = read(
        attribute("00090002", "SH", "<Value>b</Value>", ' privateCreator="B"')
        + attribute("00090010", "LO", "<Value>A</Value>")
        + attribute("00090002", "SH", "<Value>a</Value>", ' privateCreator="A"')
        + attribute("00090010", "SH", "<Value>c</Value>", ' privateCreator="B"')
    )
    assert {key: element["Value"][0] for key, element in found.items()} == {
        "00090010": "A",
        "00091002": "a",
        "00090011": "B",
        "00091102": "b",
        "00091110": "c",
    }


# -- what is refused ---------------------------------------------------------------------------------------------------

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(8))
    + "]>"
)


@pytest.mark.parametrize(
    "document",
    [
        BOMB + HEAD + attribute("00100020", "LO", "<Value>&i;</Value>") + TAIL,
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + HEAD + attribute("00100020", "LO", "<Value>&e;</Value>") + TAIL,
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">' + HEAD + TAIL,
        "<!DOCTYPE NativeDicomModel>" + HEAD + TAIL,
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x">%p;]>' + HEAD + TAIL,
    ],
    ids=["bomb", "file", "dtd", "empty", "parameter"],
)  # fmt: skip
def test_document_types_and_entities_are_refused(document: str) -> None:
    with pytest.raises(CannotParse, match="document type or entities"):
        read_native_xml(document.encode())


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "not well-formed"),
        ("<", "not well-formed"),
        ("{}", "not well-formed"),
        (HEAD, "not well-formed"),
        (HEAD + TAIL + "x", "not well-formed"),
        (HEAD + "&nbsp;" + TAIL, "not well-formed"),
        ("<a/>", "root of the XML must be NativeDicomModel"),
        ('<NativeDicomModel xmlns="http://other"/>', "not of http"),
        (HEAD + "<Value/>" + TAIL, "DicomAttribute is expected"),
        (HEAD + '<x xmlns="http://other"/>' + TAIL, "not of http"),
        (HEAD + "<DicomAttribute/>" + TAIL, "with the tag ''"),
        (HEAD + attribute("0010", "LO", "") + TAIL, "with the tag '0010'"),
        (HEAD + attribute("00100020", "XX", "") + TAIL, "PatientID: 'XX' is no VR"),
        (HEAD + 2 * attribute("00100020", "LO", "") + TAIL, "PatientID is in the XML twice"),
        (HEAD + attribute("00100020", "LO", "text") + TAIL, "PatientID: text stands outside of Value"),
        (HEAD + attribute("00100020", "LO", "<Item/>") + TAIL, "PatientID: it has 'Item', and VR LO has Value"),
        (HEAD + attribute("00100010", "PN", "<Value>A</Value>") + TAIL, "PN has PersonName"),
        (HEAD + attribute("00100010", "PN", "<PersonName>A</PersonName>") + TAIL, "PatientName: a name has text"),
        (HEAD + attribute("00100010", "PN", "<PersonName><Latin/></PersonName>") + TAIL, "'Latin' is no group"),
        (HEAD + attribute("00100010", "PN", "<PersonName><Alphabetic><X/></Alphabetic></PersonName>") + TAIL, "'X' is no component"),
        (HEAD + attribute("00081140", "SQ", "<Value>A</Value>") + TAIL, "SQ has Item"),
        (HEAD + attribute("00081140", "SQ", "<Item><Value/></Item>") + TAIL, "DicomAttribute is expected"),
        (HEAD + attribute("00100020", "LO", "<Value>A<b/></Value>") + TAIL, "a value holds elements"),
        (HEAD + attribute("00100020", "LO", '<Value number="0">A</Value>') + TAIL, "'0' is no number of a value"),
        (HEAD + attribute("00100020", "LO", '<Value number="1"/><Value number="1"/>') + TAIL, "the number 1"),
        (HEAD + attribute("00100020", "LO", '<Value number="99999999"/>') + TAIL, "too many values are left out"),
        (HEAD + attribute("00100020", "LO", '<Value number="²"/>') + TAIL, "is no number of a value"),
        (HEAD + attribute("00280010", "US", "<Value>512.5</Value>") + TAIL, "Rows: a value is no whole number"),
        (HEAD + attribute("00280010", "US", f"<Value>{'9' * 5000}</Value>") + TAIL, "Rows: a value is no whole number"),
        (HEAD + attribute("0018605A", "FL", "<Value>1_0</Value>") + TAIL, "a value is no number"),
        (HEAD + attribute("7FE00010", "OW", "<BulkData uuid='1'/>") + TAIL, "BulkData has no uri"),
        (HEAD + attribute("7FE00010", "OW", "<BulkData uri='a'/><BulkData uri='b'/>") + TAIL, "more than one BulkData"),
        (HEAD + attribute("7FE00010", "OW", "<BulkData uri='a'/><Value/>") + TAIL, "several kinds"),
        (HEAD + attribute("00090101", "LO", "", ' privateCreator="A"') + TAIL, "no block of a private creator"),
        ('<?xml version="1.0" encoding="martian"?>' + HEAD + TAIL, "encoding|well-formed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(document: str, said: str) -> None:
    with pytest.raises(CannotParse, match=said):
        read_native_xml(document.encode())


def test_sequences_are_read_to_a_certain_depth() -> None:
    def nested(depth: int) -> str:
        return attribute("00081140", "SQ", f"<Item>{nested(depth - 1)}</Item>") if depth else ""

    assert read(nested(MAX_DEPTH))
    with pytest.raises(CannotParse, match="deep"):
        read(nested(MAX_DEPTH + 1))
    with pytest.raises(CannotParse, match="deep"):
        read_native_xml(b"<NativeDicomModel>" * 1_000_000)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: (HEAD + text + TAIL).encode(errors="replace")))
def test_nothing_else_is_raised(document: bytes) -> None:
    with contextlib.suppress(CannotParse):
        read_native_xml(document)


@settings(max_examples=200)
@given(datasets(), st.integers(0, 5000), st.binary(min_size=1, max_size=3))
def test_nothing_else_is_raised_for_what_was_damaged(dataset: dict[str, Any], at: int, put: bytes) -> None:
    document = native_xml(dataset)
    place = at % len(document)
    with contextlib.suppress(CannotParse):
        read_native_xml(document[:place] + put + document[place + len(put) :])
