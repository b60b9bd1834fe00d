"""Tables of the HL7 section of the conformance statement, from the tables that messages are read by and made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from archive.hl7 import build, orders, patients, results
from archive.hl7.faults import MEANING, REJECTING
from archive.hl7.values import SEXES
from config.hl7 import IDENTIFIERS, MODALITIES, ORDER_PLACES, PATIENT_PLACES, PRIORITIES

Rows = tuple[Sequence[str], Iterable[Sequence[str]]]


def places() -> Rows:
    """Where each attribute of a worklist item stands in a message."""
    rows = [(keyword, ", ".join(f"`{each}`" for each in given)) for keyword, given in ORDER_PLACES.items()]
    rows += [(keyword, ", ".join(f"`{each}`" for each in given)) for keyword, given in PATIENT_PLACES.items()]
    return ("Attribute", "The first of these that has a value"), rows


def events() -> Rows:
    """What each message type does."""
    rows = [
        ("`ORM^O01`, `OMG^O19`, `OMI^O23`", "orders", f"ORC-1 {given}: {action}")
        for action, given in _by_meaning(orders.CONTROLS).items()
    ]
    rows += [
        (given.replace("`S", "`SIU^S"), "schedule", action)
        for action, given in _by_meaning(orders.APPOINTMENTS).items()
    ]
    rows += [
        (given.replace("`A", "`ADT^A"), "patients" if kind == "update" else "merges", kind)
        for kind, given in _by_meaning(patients.EVENTS).items()
    ]
    rows += [
        ("`ORU^R01`", "results", f"OBR-25 {given}: {status}") for status, given in _by_meaning(results.STATUSES).items()
    ]
    return ("Message", "Group", "Does"), rows


def _by_meaning(table: Mapping[str, str]) -> dict[str, str]:
    """The codes of each meaning."""
    found: dict[str, list[str]] = {}
    for code, meaning in table.items():
        found.setdefault(meaning, []).append(f"`{code or '(empty)'}`")
    return {meaning: ", ".join(given) for meaning, given in found.items()}


def codes() -> Rows:
    """Codes that are read, and what they mean."""
    groups = (
        ("ORC-5", orders.STATUSES),
        ("PID-3.5", IDENTIFIERS),
        ("OBR-24", MODALITIES),
        ("TQ1-9, OBR-5", PRIORITIES),
        ("PID-8", {code: sex or "(none)" for code, sex in SEXES.items()}),
    )
    rows = (
        (place, ", ".join(f"`{code or '(empty)'}` {meaning}" for code, meaning in table.items()))
        for place, table in groups
    )
    return ("Place", "Codes"), rows


def faults() -> Rows:
    """HL7 table 0357 as far as it is used."""
    rows = ((f"`{code}`", text, "AR, CR" if code in REJECTING else "AE, CE") for code, text in MEANING.items())
    return ("ERR-3", "Meaning", "Answer"), rows


def sent() -> Rows:
    """What the messages that we send have."""
    observed = (build.FINDINGS, build.CONCLUSION, build.RECOMMENDATION, build.STUDY, build.IMAGES, build.PRINTED)
    kinds = ("FT", "FT", "FT", "HD", "RP", "ED")
    rows = [
        ("MSH", "3 to 7, 9 to 12, 18; in enhanced mode 15 `AL`, 16 `NE`"),
        ("PID", "3 (patient ID, issuer, `MR`), 5, 7, 8"),
        ("PV1", "19, where the visit is known"),
        ("ORC", "1 `RE` or `SC`, 2, 3, 5 (status of the order), 9"),
        ("OBR", "2, 3, 4, 7, 18, 24; of a report 22, 25 (status of the report), 32 (who has signed)"),
    ]
    rows += [
        ("OBX", f"2 `{kind}`, 3 `{'^'.join(code)}`, 5, 11, 14, 16") for kind, code in zip(kinds, observed, strict=True)
    ]
    rows.append(("ORC-5", ", ".join(f"{status} `{code}`" for status, code in build.ORDER_STATUS.items())))
    rows.append(("OBR-25", ", ".join(f"{kind} `{code}`" for kind, code in build.RESULT_STATUS.items())))
    return ("Segment", "Fields"), rows
