"""The scale model: its arithmetic, and that docs/scale.md is what it computes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.results import Report
from benchmarks.scale import (
    BEGIN,
    COSTS,
    DOCUMENT,
    END,
    Costs,
    Province,
    costs_of_index,
    costs_of_reports,
    hardware,
    index_bytes,
    inserted,
    load_after,
    tables,
)

COST = Costs(
    instance_bytes=700,
    series_bytes=1000,
    patient_bytes=2000,
    study_bytes=5000,
    view_bytes=600,
    patients_per_study=0.5,
    receive_ms=2,
    retrieve_ms=1,
    receive_rate=500,
)
SMALL = Province(
    studies=1000,
    bytes=50e9,
    series_per_study=3,
    instances_per_study=100,
    busy_days=100,
    busy_hours=10,
    peak=3.6,
    looks=2,
    views=10,
    copies=2,
)


def test_bytes_of_rows_come_from_tables_with_what_belongs_to_them() -> None:
    sizes = {
        "instance": 300_000,
        "stored_object": 400_000,
        "series": 30_000,
        "patient": 8_000,
        "identity_record": 2_000,
        "study": 40_000,
        "report": 10_000,
        "audit_record": 6_000,
    }
    rows = {"instance": 1000, "series": 30, "patient": 5, "study": 10, "audit_record": 10}
    found = costs_of_index(sizes, rows, COST)
    assert found == replace(
        COST,
        instance_bytes=700,
        series_bytes=1000,
        patient_bytes=2000,
        study_bytes=5000,
        view_bytes=600,
        patients_per_study=0.5,
    )
    with pytest.raises(ValueError, match="no studies"):
        costs_of_index(sizes, {**rows, "study": 0}, COST)


def test_an_index_without_views_keeps_what_was_known_of_them() -> None:
    rows = {"instance": 1, "series": 1, "patient": 1, "study": 1, "audit_record": 0}
    assert costs_of_index({}, rows, COST).view_bytes == 600
    # A table that is too small to be measured is no table of rows without bytes.
    assert costs_of_index({}, {**rows, "audit_record": 9}, COST).view_bytes == 600


def test_processor_time_comes_from_reports() -> None:
    report = Report("receive", "")
    report.add("0.5 MB, 4 associations", "ours", {"objects/s": [800], "processor ms": [1.0, 1.5, 2.0]})
    found = costs_of_reports({"receive": report}, COST)
    assert (found.receive_ms, found.receive_rate, found.retrieve_ms) == (1.5, 800, 1)


def test_growth_of_the_index_adds_up() -> None:
    assert index_bytes(COST, SMALL) == {
        "instances": 70_000_000,
        "series": 3_000_000,
        "studies, orders, reports, figures": 5_000_000,
        "patients": 1_000_000,
        "records of who did what": 6_000_000,
    }


def test_years_and_provinces_multiply() -> None:
    assert SMALL.peak_rate == pytest.approx(0.1)
    one, ten = load_after(COST, SMALL, 1, 1), load_after(COST, SMALL, 10, 10)
    assert one.index_bytes == 85_000_000
    assert ten.index_bytes == 100 * one.index_bytes
    assert (one.object_bytes, one.stored_bytes, ten.stored_bytes) == (50e9, 100e9, 100e11)
    # Years add to what is kept, not to what arrives.
    assert ten.peak_rate == pytest.approx(10 * one.peak_rate)
    assert one.receive_cores == pytest.approx(0.0002)
    assert one.retrieve_cores == pytest.approx(0.0002)
    assert (one.in_bytes, one.out_bytes) == (pytest.approx(50_000), pytest.approx(100_000))


def test_hardware_leaves_room() -> None:
    load = replace(load_after(COST, SMALL, 10, 10), receive_cores=3, retrieve_cores=1.2)
    bought = hardware(load)
    assert bought.application_cores == 9
    assert bought.database_disk > 2 * load.index_bytes
    assert bought.object_disk > load.stored_bytes
    assert bought.network == pytest.approx((load.in_bytes + load.out_bytes) * 16)
    assert hardware(load_after(COST, SMALL, 1, 1)).application_cores == 4


def test_lines_replace_what_stands_between_the_marks() -> None:
    assert inserted(f"a\n{BEGIN}\nold\n{END}\nb\n", ["new"]) == f"a\n{BEGIN}\n\nnew\n\n{END}\nb\n"
    with pytest.raises(ValueError, match="the document has no"):
        inserted("a", ["new"])


def test_the_document_is_what_the_kept_costs_give() -> None:
    document = DOCUMENT.read_text()
    costs = Costs(**json.loads(COSTS.read_text()))
    assert inserted(document, tables(costs, Province())) == document
