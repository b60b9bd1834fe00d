"""``python -m benchmarks scale``: measured costs carried to years and provinces, as tables for ``docs/scale.md``.

Costs are those of ``benchmarks/costs.json``, unless ``build/benchmarks/`` holds newer ones. ``--database URL`` measures
the bytes of a filled index (``python -m archive.demo.generated``), whose patients are linked: what is known of persons
counts with them. The tables are printed and written into
``build/benchmarks/``; only ``--document`` changes the checkout: it keeps the costs in ``benchmarks/costs.json``, and
writes the tables into ``docs/scale.md``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.command import Parser
from benchmarks.results import OURS, TARGET, Report, number, read_all

COSTS: Final = Path(__file__).with_name("costs.json")
DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "scale.md"
BEGIN: Final = "<!-- computed by python -m benchmarks scale --document -->"
END: Final = "<!-- end of what is computed -->"
YEAR: Final = 365
GB: Final = 1e9
TB: Final = 1e12

# Tables whose rows come with instances, with series and with patients. All others come with studies.
OF_INSTANCES: Final = ("instance", "stored_object")
OF_SERIES: Final = ("series",)
OF_PATIENTS: Final = ("patient", "patient_person", "person")
OF_VIEWS: Final = ("audit_record",)
_SIZES: Final = """
SELECT relname::text, pg_total_relation_size(oid) FROM pg_class
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_total_relation_size(oid) > 1048576
"""


@dataclass(frozen=True)
class Costs:
    """What was measured; bytes with their indexes, processor in milliseconds on all processes of a kind together."""

    instance_bytes: float
    series_bytes: float
    patient_bytes: float
    """Of a patient's row, and of what is known of the person."""
    study_bytes: float
    """Of a study with its order, report, facts for figures, and grants."""
    view_bytes: float
    """Of a record of who did what."""
    patients_per_study: float
    receive_ms: float
    """Of an object of 0.5 MB by C-STORE, PostgreSQL included."""
    retrieve_ms: float
    """Of an instance of 0.5 MB in a series by WADO-RS."""
    receive_rate: float
    """Objects of 0.5 MB a second with four associations, on the machine that was measured."""


@dataclass(frozen=True)
class Province:
    """What a province does in a year. All but the first four are assumptions, to be changed by whoever knows better."""

    studies: float = 1e6
    bytes: float = 50 * TB
    series_per_study: float = 3
    instances_per_study: float = 100
    busy_days: float = 300
    busy_hours: float = 10
    peak: float = 3
    """How much the busiest hour exceeds the mean of busy hours."""
    looks: float = 3
    """How often each instance is retrieved: report, ward, prior."""
    views: float = 15
    """Records of who did what for each study."""
    copies: float = 2
    """Of each object: two places, or the like of it by erasure coding."""

    @property
    def instances(self) -> float:
        return self.studies * self.instances_per_study

    @property
    def peak_rate(self) -> float:
        """Objects a second in the busiest hour."""
        return self.instances / (self.busy_days * self.busy_hours * 3600) * self.peak


@dataclass(frozen=True)
class Load:
    """What some provinces need after some years."""

    provinces: int
    years: int
    index_bytes: float
    object_bytes: float
    """One copy."""
    stored_bytes: float
    """All copies."""
    peak_rate: float
    receive_cores: float
    """Processors that are fully busy in the busiest hour."""
    retrieve_cores: float
    in_bytes: float
    """A second, in the busiest hour."""
    out_bytes: float


def costs_of_index(sizes: Mapping[str, int], rows: Mapping[str, int], costs: Costs) -> Costs:
    """Bytes of each kind of row, from bytes of tables and numbers of rows. Raises `ValueError` for an empty index."""
    if not all(rows.get(each) for each in ("study", "series", "instance", "patient")):
        raise ValueError("this index has no studies: python -m archive.demo.generated fills one")
    special = (*OF_INSTANCES, *OF_SERIES, *OF_PATIENTS, *OF_VIEWS)

    def total(tables: Sequence[str]) -> int:
        return sum(sizes.get(each, 0) for each in tables)

    def is_of_patients(table: str) -> bool:
        return table in OF_PATIENTS or table.startswith("identity_")

    # A few records do not tell: tables below a megabyte are left out of what is measured.
    knows_views = rows.get("audit_record") and total(OF_VIEWS)
    patients = sum(size for table, size in sizes.items() if is_of_patients(table))
    others = sum(size for table, size in sizes.items() if table not in special and not is_of_patients(table))
    return replace(
        costs,
        instance_bytes=total(OF_INSTANCES) / rows["instance"],
        series_bytes=total(OF_SERIES) / rows["series"],
        patient_bytes=patients / rows["patient"],
        study_bytes=others / rows["study"],
        view_bytes=total(OF_VIEWS) / rows["audit_record"] if knows_views else costs.view_bytes,
        patients_per_study=rows["patient"] / rows["study"],
    )


def costs_of_reports(reports: Mapping[str, Report], costs: Costs) -> Costs:
    """The costs with what the reports measured of them."""
    wanted = {
        "receive_ms": ("receive", "0.5 MB, 4 associations", "processor ms"),
        "receive_rate": ("receive", "0.5 MB, 4 associations", "objects/s"),
        "retrieve_ms": ("retrieve", "series of 300 slices", "processor ms"),
    }
    found = {}
    for name, (benchmark, case, quantity) in wanted.items():
        measure = reports[benchmark].find(case, OURS, quantity) if benchmark in reports else None
        if measure is not None:
            found[name] = measure.median
    return replace(costs, **found)


def index_bytes(costs: Costs, province: Province) -> dict[str, float]:
    """Bytes that the index of one province grows by in a year, by what causes them."""
    return {
        "instances": province.instances * costs.instance_bytes,
        "series": province.studies * province.series_per_study * costs.series_bytes,
        "studies, orders, reports, figures": province.studies * costs.study_bytes,
        # The same people come back: after the first year this is too much rather than too little.
        "patients": province.studies * costs.patients_per_study * costs.patient_bytes,
        "records of who did what": province.studies * province.views * costs.view_bytes,
    }


def load_after(costs: Costs, province: Province, years: int, provinces: int) -> Load:
    """What so many provinces need after so many years."""
    rate = province.peak_rate * provinces
    size = province.bytes / province.instances
    return Load(
        provinces,
        years,
        sum(index_bytes(costs, province).values()) * years * provinces,
        province.bytes * years * provinces,
        province.bytes * years * provinces * province.copies,
        rate,
        rate * costs.receive_ms / 1000,
        rate * province.looks * costs.retrieve_ms / 1000,
        rate * size,
        rate * size * province.looks,
    )


@dataclass(frozen=True)
class Hardware:
    """What to buy for a load, with room to spare: processors half busy in the busiest hour, disks 70 % full."""

    application_cores: int
    database_memory: float
    database_disk: float
    object_disk: float
    spool_disk: float
    network: float
    """Bits a second."""


def hardware(load: Load) -> Hardware:
    """The hardware of a load."""
    return Hardware(
        max(4, math.ceil((load.receive_cores + load.retrieve_cores) / 0.5)),
        # Searches ask for what came lately: a tenth of a year's growth and the upper levels of all trees.
        max(32 * GB, load.index_bytes / load.years * 0.1 + load.index_bytes * 0.01),
        # Twice the index, for what VACUUM has not reused, for WAL, and for a REINDEX beside the old one.
        load.index_bytes * 2 / 0.7,
        load.stored_bytes / 0.7,
        # Two days of what comes in, if the object store is away.
        load.object_bytes / load.years / YEAR * 2 / 0.7,
        (load.in_bytes + load.out_bytes) * 8 / 0.5,
    )


def tables(costs: Costs, province: Province) -> list[str]:
    """All tables, as Markdown."""
    loads = [load_after(costs, province, years, count) for count in (1, 10) for years in (1, 5, 10)]
    bought = [load_after(costs, province, 10, count) for count in (1, 10)]
    return [
        "### Measured costs",
        "",
        "| cost | value |",
        "|---|--:|",
        *(f"| {name} | {number(value)} |" for name, value in _named(costs).items()),
        "",
        "### The province that is reckoned with",
        "",
        "| assumption | value |",
        "|---|--:|",
        *(f"| {name.replace('_', ' ')} | {value:,.0f} |" for name, value in asdict(province).items()),
        f"| objects a second in the busiest hour | {number(province.peak_rate)} |",
        "",
        "### Growth of the index of one province in a year",
        "",
        "| of | GB |",
        "|---|--:|",
        *(f"| {name} | {number(size / GB)} |" for name, size in index_bytes(costs, province).items()),
        f"| together | {number(sum(index_bytes(costs, province).values()) / GB)} |",
        "",
        "### After years",
        "",
        "| provinces | years | index GB | objects TB, one copy | TB, all copies | objects/s at peak |"
        " cores busy receiving | cores busy serving | MB/s in | MB/s out |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *map(_load_row, loads),
        "",
        "### Hardware for ten years",
        "",
        "| provinces | cores of nodes and web services | PostgreSQL: memory GB | PostgreSQL: NVMe TB |"
        " object store TB | spool TB | network Gbit/s |",
        "|--:|--:|--:|--:|--:|--:|--:|",
        *(_hardware_row(each, hardware(each)) for each in bought),
    ]


def _named(costs: Costs) -> dict[str, float]:
    return {
        "index: bytes of an instance": costs.instance_bytes,
        "index: bytes of a series": costs.series_bytes,
        "index: bytes of a study with order, report and figures": costs.study_bytes,
        "index: bytes of a patient": costs.patient_bytes,
        "index: bytes of a record of who did what": costs.view_bytes,
        "patients (rows) for each study": costs.patients_per_study,
        "C-STORE of 0.5 MB: ms of processor, PostgreSQL included": costs.receive_ms,
        "C-STORE of 0.5 MB: objects/s on the machine that was measured": costs.receive_rate,
        "WADO-RS of an instance of 0.5 MB in a series: ms of processor": costs.retrieve_ms,
    }


def _load_row(load: Load) -> str:
    cells = (
        load.provinces,
        load.years,
        f"{load.index_bytes / GB:,.0f}",
        f"{load.object_bytes / TB:,.0f}",
        f"{load.stored_bytes / TB:,.0f}",
        number(load.peak_rate),
        number(load.receive_cores),
        number(load.retrieve_cores),
        number(load.in_bytes / 1e6),
        number(load.out_bytes / 1e6),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _hardware_row(load: Load, wanted: Hardware) -> str:
    cells = (
        load.provinces,
        wanted.application_cores,
        f"{wanted.database_memory / GB:,.0f}",
        number(wanted.database_disk / TB),
        f"{wanted.object_disk / TB:,.0f}",
        number(wanted.spool_disk / TB),
        number(wanted.network / 1e9),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main(arguments: list[str]) -> int:
    parser = Parser("scale", __doc__)
    parser.add_argument("--database", default="", help="URL of a filled index whose bytes are measured")
    parser.add_argument("--folder", type=Path, default=TARGET, help=f"of results ({TARGET})")
    parser.add_argument("--document", action="store_true", help="keep the costs, and write docs/scale.md")
    given = parser.read(arguments)
    costs = measured_costs(given.folder, given.database)
    lines = tables(costs, Province())
    print("\n".join(lines))
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "scale.md").write_text("\n".join(lines) + "\n")
    (given.folder / "costs.json").write_text(_kept(costs))
    if given.document:
        document(costs)
    return 0


def measured_costs(folder: Path, database: str = "") -> Costs:
    """The kept costs with those that results in the folder, or rows of an index, are newer of."""
    path = folder / "costs.json"
    costs = Costs(**json.loads((path if path.exists() else COSTS).read_text()))
    costs = costs_of_reports(read_all(folder), costs)
    if database:
        costs = costs_of_index(*_measured(database), costs)
    return Costs(**json.loads(_kept(costs)))


def document(costs: Costs) -> None:
    """Keep the costs, and write the tables of docs/scale.md."""
    COSTS.write_text(_kept(costs))
    DOCUMENT.write_text(inserted(DOCUMENT.read_text(), tables(costs, Province())))


def inserted(document: str, lines: Sequence[str]) -> str:
    """The document with these lines between its marks. Raises `ValueError` if a mark is missing."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no '{BEGIN}' followed by '{END}'")
    return "\n".join((head + begin, "", *lines, "", end + tail))


def _kept(costs: Costs) -> str:
    return json.dumps({name: float(f"{value:.4g}") for name, value in asdict(costs).items()}, indent=1) + "\n"


def _measured(url: str) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of tables with their indexes, and numbers of rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        sizes = dict(connection.execute(_SIZES).fetchall())
        rows = {}
        for table in ("patient", "study", "series", "instance", "audit_record"):
            (rows[table],) = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() or (0,)
    return sizes, rows
