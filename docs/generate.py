"""``python -m docs.generate [--check]``: write the tables of the documents that follow from the code.

A table stands between ``<!-- generated: name -->`` and ``<!-- /generated -->``; what is between them is replaced.
With ``--check`` nothing is written, and the exit code is 1 when a document is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from archive import errors
from archive.attributes import BY_LEVEL, COMPUTED, LEVELS, Attribute
from archive.audit.message import SHAPES
from archive.commitment.records import REASONS
from archive.conditions import conditions
from archive.core import Archive
from archive.demo import SETTINGS
from archive.errors import InvalidQuery
from archive.fhir import service as fhir
from archive.imaging.encode import LOSSLESS
from archive.ordering import INDEXED, orderable
from archive.people.roles import RIGHTS, Right, Role
from archive.records import EVERYTHING, Level, Query
from archive.rejection.causes import SHOWN, TITLES, View, hidden_note
from archive.standard.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
)
from archive.ups import rules as ups
from archive.ups import search as ups_search
from archive.worklist import performed
from archive.worklist.attributes import rows as worklist_rows
from config.character_sets import LEGACY, accepted_names
from config.settings import load
from dicom_node.commitment import status as commitment
from dicom_node.commitment.information import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from dicom_node.contexts import COMMAND_SERVICES, VERIFICATION
from dicom_node.forward_delivery import Judged, judge
from dicom_node.models import FIND, GET, MOVE
from dicom_node.mpps_status import N_MEANING
from dicom_node.negotiation import Rejection
from dicom_node.status import (
    C_FIND_MEANING,
    C_FIND_STATUS,
    C_RETRIEVE_MEANING,
    C_RETRIEVE_STATUS,
    CANCEL,
    MEANING,
    NOT_OBEYED,
    PENDING,
    SOME_SUBOPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_PERFORM,
    UnknownDestination,
    c_find_status,
    c_retrieve_status,
    c_store_status,
)
from docs import hl7_tables
from docs.access_tables import level_3, peer_rights, route_rights
from viewer_api.app import create_app
from viewer_api.media_types import SYNTAXES_OF
from viewer_api.pages.tt54 import criteria
from viewer_api.problems import problem_of

DOCS = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_SAMPLES = {"DA": "20260101", "TM": "10", "IS": "1", "DS": "1", "US": "1", "UI": "1.2"}
"""A value that a key of this value representation can be matched with."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def implementation() -> str:
    return table(
        ("", ""),
        [
            ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
            ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
        ],
    )


def rejections() -> str:
    """PS3.8 Table 9-21."""
    results = {1: "permanent", 2: "transient"}
    sources = {1: "service-user", 2: "service-provider (ACSE)", 3: "service-provider (presentation)"}
    rows = []
    for rejection in Rejection:
        result, source, reason, cause = rejection.value
        rows.append(
            (
                f"`{rejection.name}`",
                cause,
                f"{result} ({results[result]})",
                f"{source} ({sources[source]})",
                str(reason),
            )
        )
    return table(("In the log", "Cause", "Result", "Source", "Reason"), rows)


def verification() -> str:
    names = ", ".join(f"{TRANSFER_SYNTAXES[uid].name} (`{uid}`)" for uid in COMMAND_SERVICES[VERIFICATION])
    return table(("SOP class", "UID", "Transfer syntaxes"), [("Verification", f"`{VERIFICATION}`", names)])


def query_sop_classes() -> str:
    rows = []
    for service, models in (("FIND", FIND), ("MOVE", MOVE), ("GET", GET)):
        for uid, model in models.items():
            levels = ", ".join(level.value for level in model.levels)
            rows.append((f"{model.name} Information Model - {service}", f"`{uid}`", levels))
    return table(("SOP class", "UID", "Levels"), rows)


def c_find_statuses() -> str:
    rows = [("(none)", f"`{status:04X}`", C_FIND_MEANING[status]) for status in (SUCCESS, PENDING, 0xFF01, CANCEL)]
    for kind in _errors():
        status, _ = c_find_status(kind("..."))
        if kind in C_FIND_STATUS:
            rows.append((kind.__name__, f"`{status:04X}`", C_FIND_MEANING[status]))
    return table(("Error", "Status", "Meaning"), rows)


def c_retrieve_statuses() -> str:
    known = (SUCCESS, PENDING, CANCEL, SOME_SUBOPERATIONS_FAILED, UNABLE_TO_PERFORM)
    rows = [("(none)", f"`{status:04X}`", C_RETRIEVE_MEANING[status]) for status in known]
    for kind in (*_errors(), UnknownDestination):
        status, _ = c_retrieve_status(kind("..."))
        if kind in C_RETRIEVE_STATUS:
            rows.append((kind.__name__, f"`{status:04X}`", C_RETRIEVE_MEANING[status]))
    return table(("Error", "Status", "Meaning"), rows)


def commitment_sop_classes() -> str:
    syntaxes = ", ".join(f"{TRANSFER_SYNTAXES[uid].name} (`{uid}`)" for uid in COMMAND_SERVICES[STORAGE_COMMITMENT])
    row = ("Storage Commitment Push Model", f"`{STORAGE_COMMITMENT}`", f"`{WELL_KNOWN_INSTANCE}`", syntaxes)
    return table(("SOP class", "UID", "SOP instance", "Transfer syntaxes"), [row])


def commitment_statuses() -> str:
    services = {"N-ACTION": commitment.N_ACTION_STATUS, "N-EVENT-REPORT": commitment.N_EVENT_REPORT_STATUS}
    rows = [("both", "(none)", "`0000`", commitment.MEANING[0])]
    for kind in dict.fromkeys(kind for statuses in services.values() for kind in statuses):
        found = {name: statuses[kind] for name, statuses in services.items() if kind in statuses}
        for status in sorted(set(found.values())):
            names = [name for name, each in found.items() if each == status]
            where = "both" if len(names) == len(services) else names[0]
            rows.append((where, kind.__name__, f"`{status:04X}`", commitment.MEANING[status]))
    return table(("Service", "Error", "Status", "Meaning"), rows)


def commitment_reasons() -> str:
    return table(("Reason", "Meaning"), ((f"`{code:04X}`", text) for code, text in REASONS.items() if code))


def worklist_attributes() -> str:
    """PS3.4 Table K.6-1 as far as it is supported."""
    rows = []
    for depth, attribute in worklist_rows():
        tag = f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})"
        name = f"{'>' * depth}{attribute.keyword}"
        rows.append((name, f"`{tag}`", attribute.vr, "required" if attribute.required else "", attribute.type))
    return table(("Attribute", "Tag", "VR", "Matching key", "Return key type"), rows)


def mpps_attributes() -> str:
    """PS3.4 Table F.7.2-1 as far as it is enforced."""
    keywords = dict.fromkeys((*performed.REQUIRED, *performed.REQUIRED_AT_END, *performed.FIXED))
    rows = (
        (
            keyword,
            "type 1" if keyword in performed.REQUIRED else "",
            "not allowed" if keyword in performed.FIXED else "",
            "needed" if keyword in performed.REQUIRED_AT_END else "",
        )
        for keyword in keywords
    )
    return table(("Attribute", "N-CREATE", "N-SET", "At the end"), rows)


def ups_attributes() -> str:
    """PS3.4 Table CC.2.5-3 as far as it is enforced."""
    rows = []
    for keyword in dict.fromkeys((*ups.REQUIRED, *ups.FILLED, *ups.FIXED, *ups_search.RETURNED, *ups.PERFORMED)):
        create = "type 1" if keyword in ups.REQUIRED else "type 2" if keyword in ups.FILLED else ""
        create += ", empty" if keyword in ups.EMPTY_AT_FIRST else ""
        rows.append(
            (
                keyword,
                create.removeprefix(", "),
                "may not be changed" if keyword in ups.FIXED else "",
                "needed" if keyword in ups.PERFORMED else "",
                "yes" if keyword in ups_search.RETURNED else "",
            )
        )
    return table(("Attribute", "Create", "Update", "For COMPLETED", "Returned by Search"), rows)


def mpps_statuses() -> str:
    rows = [(f"`{status:04X}`", meaning) for status, meaning in N_MEANING.items()]
    return table(("Status", "Meaning"), rows)


def forward_statuses() -> str:
    """How the answers of destinations are judged, by ranges that are judged alike."""
    rows: list[tuple[str, str]] = []
    start, before = 0, judge(0)
    for status in range(1, 0x10001):
        now = judge(status) if status <= 0xFFFF else None
        if now is not before:
            last = status - 1
            rows.append((f"`{start:04X}`" if start == last else f"`{start:04X}` to `{last:04X}`", before.value))
            if now is not None:
                start, before = status, now
    kept = [row for row in rows if row[1] != Judged.REFUSED.value]
    return table(("Status", "Means"), [*kept, ("any other", Judged.REFUSED.value)])


def storage_sop_classes() -> str:
    return table(("SOP class", "UID"), ((name, f"`{uid}`") for uid, name in STORAGE_SOP_CLASSES.items()))


def rejection_titles() -> str:
    rows = []
    for title in TITLES:
        hidden = title.cause | hidden_note(title.cause)
        rows.append(
            (f"({title.code}, DCM)", title.meaning, *("hidden" if hidden & ~SHOWN[view] else "shown" for view in View))
        )
    return table(("Document title", "Meaning", *(f"View `{view}`" for view in View)), rows)


def transfer_syntaxes() -> str:
    rows = []
    for syntax in TRANSFER_SYNTAXES.values():
        if syntax.storable:
            notes = [word for word in ("retired", "lossy", "video", "deflated") if getattr(syntax, word)]
            rows.append((syntax.name, f"`{syntax.uid}`", ", ".join(notes)))
    return table(("Transfer syntax", "UID", "Notes"), rows)


def c_store_statuses() -> str:
    rows = [("(none)", f"`{status:04X}`", MEANING[status]) for status in (SUCCESS, NOT_OBEYED)]
    for kind in _errors():
        status, _ = c_store_status(kind("..."))
        rows.append((kind.__name__, f"`{status:04X}`", MEANING[status]))
    return table(("Error", "Status", "Meaning"), rows)


def problems() -> str:
    rows = []
    for kind in _errors():
        problem = problem_of(kind("..."))
        rows.append((kind.__name__, str(int(problem.status)), problem.title, f"`{problem.failure_reason:04X}`"))
    return table(("Error", "HTTP status", "Title", "Failure Reason (0008,1197) in STOW-RS"), rows)


def transactions() -> str:
    """The resources under ``/dicom-web`` as the OpenAPI description of the service tells them."""
    settings = load(SETTINGS, environ={}, access={"sign_in": "off"})
    app = create_app(cast(Archive, SimpleNamespace(settings=settings)))
    rows = []
    for path, methods in app.openapi()["paths"].items():
        if path.startswith("/dicom-web"):
            rows += [(f"`{method.upper()} {path}`", _first_line(about)) for method, about in methods.items()]
    return table(("Resource", "Purpose"), sorted(rows, key=lambda row: row[0].strip("`").split()[::-1]))


def media_types() -> str:
    rows = (
        (f"`{name}`", ", ".join(f"{TRANSFER_SYNTAXES[uid].name} (`{uid}`)" for uid in uids))
        for name, uids in SYNTAXES_OF.items()
    )
    return table(("Media type", "Transfer syntaxes, the default first"), rows)


def lossless_targets() -> str:
    rows = []
    for uid, codec in LOSSLESS.items():
        beside = "kept" if codec.whole_cells else "refused"
        colour = "`YBR_RCT`" if codec.component_transform else "`RGB`"
        rows.append(
            (
                TRANSFER_SYNTAXES[uid].name,
                f"`{uid}`",
                f"{codec.fewest_bits} to 16",
                f"{colour}, planar configuration {codec.planar}",
                f"{codec.ybr_bits} bits allocated" if codec.ybr_bits == 8 else "8 or 16 bits allocated",
                beside,
            )
        )
    header = ("Transfer syntax", "UID", "Bits stored", "`RGB` becomes", "`YBR_FULL`", "Bits beyond BitsStored")
    return table(header, rows)


def query_attributes() -> str:
    rows = []
    for level in LEVELS:
        for computed, attributes in ((False, BY_LEVEL[level]), (True, COMPUTED[level])):
            rows += [_query_row(attribute, computed) for attribute in attributes]
    return table(("Level", "Attribute", "Tag", "VR", "Matched", "Returned", "`orderby`", "Origin"), rows)


def _query_row(attribute: Attribute, computed: bool) -> tuple[str, ...]:
    tag = f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})"
    return (
        attribute.level.value.capitalize(),
        attribute.keyword,
        f"`{tag}`",
        attribute.vr,
        "by items" if attribute.vr == "SQ" else "yes" if _is_matched(attribute) else "no",
        "always" if attribute.default else "on request",
        _ordered(attribute),
        "archive" if computed else "object",
    )


def _ordered(attribute: Attribute) -> str:
    if attribute.keyword in INDEXED[attribute.level]:
        return "behind StudyDate" if attribute.keyword == "StudyTime" else "yes"
    return "within one study" if attribute.keyword in orderable(Level.IMAGE, within_one_study=True) else "no"


def _is_matched(attribute: Attribute) -> bool:
    """Asks the matcher itself, which has no list of what it refuses."""
    try:
        conditions(Query(Level.IMAGE, {attribute.tag: _SAMPLES.get(attribute.vr, "A")}), EVERYTHING)
    except InvalidQuery:
        return False
    return True


def _errors(base: type[errors.ArchiveError] = errors.ArchiveError) -> list[type[errors.ArchiveError]]:
    """The tree of `archive.errors`, each kind before what derives from it."""
    kinds = [kind for kind in base.__subclasses__() if kind.__module__ == errors.__name__]
    return [each for kind in kinds for each in (kind, *_errors(kind))]


def _first_line(about: dict[str, Any]) -> str:
    text: str = about.get("description") or about.get("summary") or ""
    return text.split("\n", 1)[0]


def rights() -> str:
    """What each role may do where it holds (`archive.people.roles.RIGHTS`)."""
    roles = [role for role in Role if role is not Role.SERVICE]
    rows = [(f"`{right.value}`", *("yes" if right in RIGHTS[role] else "" for role in roles)) for right in Right]
    return table(("Right", *(f"`{role.value}`" for role in roles)), rows)


def audit_messages() -> str:
    rows = []
    for action, shape in SHAPES.items():
        kind = f"{shape.kind.meaning} ({shape.kind.value})" if shape.kind else ""
        rows.append((f"`{action}`", f"{shape.event.meaning} ({shape.event.value})", kind, shape.action))
    return table(("On record as", "Event ID", "Event type", "Action"), rows)


def character_sets() -> str:
    rows = (
        (f"`{name}`", "no" if name in LEGACY else "yes", ", ".join(f"`{alias}`" for alias in aliases if alias != name))
        for name, aliases in accepted_names().items()
    )
    return table(("Setting", "Defined term of DICOM", "Also written"), rows)


def fhir_parameters() -> str:
    """What each type of resource can be searched by, from the tables that the searches are made of."""
    rows = []
    for name in fhir.types():
        for parameter in fhir.parameters_of(name):
            modifiers = [f"`:{each}`" for each in (*parameter.modifiers, *parameter.targets)]
            chain = [f"`.{each}`" for each in getattr(parameter, "chain", ())]
            about = f"{parameter.about}; not of R4" if parameter.definition else parameter.about
            rows.append((name, f"`{parameter.name}`", parameter.kind, about, ", ".join(modifiers + chain)))
    return table(("Type", "Parameter", "Kind", "Means", "Modifiers, and what may follow"), rows)


def fhir_includes() -> str:
    rows = []
    for name in fhir.types():
        found = [", ".join(f"`{each}`" for each in listed(name)) for listed in (fhir.includes, fhir.reverse_includes)]
        orders = ", ".join(f"`{each}`" for each in fhir.sorts_of(name))
        rows.append((name, *found, orders))
    return table(("Type", "`_include`", "`_revinclude`", "`_sort`"), rows)


def tt54() -> str:
    rows = []
    for each in criteria():
        tests = "<br>".join(f"[`{test.split('::')[1]}`](../{test.split('::')[0]})" for test in each.tests)
        pages = " ".join(f"`{address}`" for address in each.pages)
        rows.append((str(each.number), each.level, f"{each.vi}<br>*{each.en}*", each.state, each.how, pages, tests))
    return table(("TC", "Level", "Criterion", "State", "How", "Pages", "Tests"), rows)


def hl7(name: str) -> str:
    """A table of `docs.hl7_tables`."""
    return table(*getattr(hl7_tables, name)())


TABLES: dict[str, Callable[[], str]] = {
    "implementation": implementation,
    "rejections": rejections,
    "rejection-titles": rejection_titles,
    "verification": verification,
    "storage-sop-classes": storage_sop_classes,
    "transfer-syntaxes": transfer_syntaxes,
    "c-store-statuses": c_store_statuses,
    "query-sop-classes": query_sop_classes,
    "c-find-statuses": c_find_statuses,
    "c-retrieve-statuses": c_retrieve_statuses,
    "commitment-sop-classes": commitment_sop_classes,
    "commitment-statuses": commitment_statuses,
    "commitment-reasons": commitment_reasons,
    "worklist-attributes": worklist_attributes,
    "mpps-attributes": mpps_attributes,
    **{f"hl7-{name}": partial(hl7, name) for name in ("places", "events", "codes", "faults", "sent")},
    "mpps-statuses": mpps_statuses,
    "forward-statuses": forward_statuses,
    "problems": problems,
    "ups-attributes": ups_attributes,
    "transactions": transactions,
    "lossless-targets": lossless_targets,
    "media-types": media_types,
    "character-sets": character_sets,
    "rights": rights,
    "route-rights": lambda: table(*route_rights()),
    "peer-rights": lambda: table(*peer_rights()),
    "level-3": lambda: table(*level_3()),
    "audit-messages": audit_messages,
    "query-attributes": query_attributes,
    "fhir-parameters": fhir_parameters,
    "fhir-includes": fhir_includes,
    "tt54": tt54,
}


def rendered(text: str) -> str:
    """The document with its tables as they are now. Raises `KeyError` for a table that nobody makes."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}{block[3]}", text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Write the generated tables of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; say whether a document is stale")
    check = parser.parse_args(arguments).check
    stale = []
    for path in sorted(DOCS.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(path)
            if not check:
                path.write_text(after, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(DOCS.parent)} {'is stale' if check else 'is written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
