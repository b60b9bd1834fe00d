"""The Native DICOM Model (PS3.19 A.1), held against DCMTK's and by itself."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.dataset import Dataset

from archive.standard.json_model import dataset_json
from archive.standard.xml_model import NAMESPACE, native_xml
from tests.corpus import storage_objects

XMLNS = f"{{{NAMESPACE}}}"


def document(dataset: dict[str, dict[str, object]]) -> ElementTree.Element:
    return ElementTree.fromstring(native_xml(dataset))


def attribute(root: ElementTree.Element, key: str) -> ElementTree.Element:
    found = root.find(f"{XMLNS}DicomAttribute[@tag='{key}']")
    assert found is not None
    return found


def test_the_root_declares_the_namespace_and_keeps_spaces() -> None:
    root = document({})
    assert root.tag == f"{XMLNS}NativeDicomModel"
    assert root.attrib == {"{http://www.w3.org/XML/1998/namespace}space": "preserve"}
    assert list(root) == []


def test_values_are_numbered_and_empty_ones_are_left_out() -> None:
    root = document({"00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]}, "00080050": {"vr": "SH"}})
    values = attribute(root, "00080008")
    assert values.attrib == {"tag": "00080008", "vr": "CS", "keyword": "ImageType"}
    assert [(each.attrib["number"], each.text) for each in values] == [("1", "ORIGINAL"), ("3", "AXIAL")]
    assert list(attribute(root, "00080050")) == []


def test_names_are_taken_apart_into_groups_and_components() -> None:
    name = {"Alphabetic": "Nguyễn^Văn^An^Bs^CKI", "Ideographic": "阮^文安", "Phonetic": "^a"}
    root = document({"00100010": {"vr": "PN", "Value": [name, None, {"Alphabetic": "Lê"}]}})
    first, third = attribute(root, "00100010")
    assert (first.attrib, third.attrib) == ({"number": "1"}, {"number": "3"})
    found = [(group.tag.removeprefix(XMLNS), [(c.tag.removeprefix(XMLNS), c.text) for c in group]) for group in first]
    assert found == [
        (
            "Alphabetic",
            [
                ("FamilyName", "Nguyễn"),
                ("GivenName", "Văn"),
                ("MiddleName", "An"),
                ("NamePrefix", "Bs"),
                ("NameSuffix", "CKI"),
            ],
        ),
        ("Ideographic", [("FamilyName", "阮"), ("GivenName", "文安")]),
        ("Phonetic", [("GivenName", "a")]),
    ]


def test_sequences_are_items_of_attributes() -> None:
    item = {"00081150": {"vr": "UI", "Value": ["1.2"]}}
    root = document({"00081140": {"vr": "SQ", "Value": [item, {}]}})
    one, two = attribute(root, "00081140")
    assert (one.attrib, two.attrib) == ({"number": "1"}, {"number": "2"})
    assert attribute(one, "00081150")[0].text == "1.2"
    assert list(two) == []


def test_bulk_data_and_binary_values() -> None:
    address = "https://pacs/studies/1?a=1&b=<2>"
    root = document(
        {"00420011": {"vr": "OB", "InlineBinary": "AAEC"}, "7FE00010": {"vr": "OW", "BulkDataURI": address}}
    )
    assert attribute(root, "00420011")[0].text == "AAEC"
    bulk = attribute(root, "7FE00010")[0]
    assert (bulk.tag, bulk.attrib) == (f"{XMLNS}BulkData", {"uri": address})


def test_a_private_attribute_names_its_creator() -> None:
    root = document(
        {
            "00090010": {"vr": "LO", "Value": ['GE "MEDICAL" <1>']},
            "00091001": {"vr": "LO", "Value": ["x"]},
            "00091101": {"vr": "LO", "Value": ["of nobody"]},
        }
    )
    assert attribute(root, "00091001").attrib["privateCreator"] == 'GE "MEDICAL" <1>'
    assert attribute(root, "00091101").attrib == {"tag": "00091101", "vr": "LO"}


def test_characters_that_no_document_may_hold_do_not_break_it() -> None:
    root = document({"00104000": {"vr": "LT", "Value": ["a\0b\x1b[<&>]]>\ud800\uffff\r\nđ\U0001f600"]}})
    # A line break is one character to whoever reads XML (XML 1.0 2.11).
    assert attribute(root, "00104000")[0].text == "a\ufffdb\ufffd[<&>]]>\ufffd\ufffd\nđ\U0001f600"


@pytest.mark.parametrize("path", storage_objects()[::4], ids=lambda path: path.name)
def test_the_corpus_reads_as_by_dcmtk(path: Path) -> None:
    """Attributes, values, names and items; DCMTK writes numbers and binary values in other words."""
    run = subprocess.run(["dcm2xml", "-nat", "+Xn", "+U8", "+Ca", "latin-1", path], capture_output=True)
    assert run.returncode == 0, run.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds: Dataset = pydicom.dcmread(path)
        ours = document(dataset_json(ds, lambda _: "uri"))
    theirs = ElementTree.fromstring(run.stdout)
    mine, other = dict(texts(ours, "")), dict(texts(theirs, ""))
    shared = mine.keys() & other.keys()
    assert len(shared) == len(other) > 0
    assert {key: mine[key] for key in shared} == {key: other[key] for key in shared}


def texts(node: ElementTree.Element, place: str) -> list[tuple[str, list[str]]]:
    """The values of all attributes of text, by their place in the tree."""
    found = []
    for element in node:
        if element.tag.removeprefix(XMLNS) != "DicomAttribute":
            continue
        tag = element.attrib["tag"].upper()
        key = f"{place}/{tag}"
        if int(tag[:4], 16) % 2 or tag.startswith("0002") or tag == "00080005":
            continue  # DCMTK knows private attributes by a dictionary, and names the character set it made
        if element.attrib["vr"] == "SQ":
            for number, item in enumerate(element):
                found += texts(item, f"{key}/{number}")
        elif element.attrib["vr"] in ("CS", "DA", "LO", "PN", "SH", "UI", "AE", "AS", "TM", "DT"):
            leaves = [leaf.text or "" for leaf in element.iter() if not len(leaf) and leaf is not element]
            found.append((key, [text.strip() for text in leaves if text.strip()]))
    return found
