"""docs/interoperability.md has the cases that exist, and no cell is blank."""

from __future__ import annotations

import re

from tests.interop.matrix import MATRICES, NOT_OFFERED, ROOT, Case, Result, cases, cell

DOCUMENT = (ROOT / "docs" / "interoperability.md").read_text(encoding="utf-8")


def row(case: Case) -> str:
    return f"| {case.service} | {case.client}: {case.program} | {case.proves} | pass | `{case.test.split('::')[1]}` |"


def test_every_case_has_its_row_and_every_row_its_case() -> None:
    found = set(re.findall(r"^\| .* \| .* \| .* \| .* \| `test_.*` \|$", DOCUMENT, re.MULTILINE))
    assert found == {row(case) for case in cases()}, "run `make interop`"


def test_no_cell_is_blank() -> None:
    every = list(cases())
    ran = {case.test: Result(case.test, 1, 0, "2026-11-22") for case in every}
    for clients, services in MATRICES.values():
        for client in clients:
            for service in services:
                assert cell(client, service, every, ran)


def test_nothing_is_said_not_to_be_offered_that_has_a_case() -> None:
    assert not NOT_OFFERED.keys() & {(case.client, case.service) for case in cases()}


def test_a_case_that_failed_or_did_not_run_is_told() -> None:
    first = next(cases())
    assert "fail" in cell(first.client, first.service, [first], {first.test: Result(first.test, 1, 1, "")})
    assert "not run" in cell(first.client, first.service, [first], {})
    assert cell(first.client, first.service, [first], {first.test: Result(first.test, 2, 0, "")}) == "pass (1)"


def test_the_tests_of_the_pain_points_exist() -> None:
    pains = DOCUMENT.split("## What users of other archives suffer from")[1]
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", pains)
    assert len(named) > 40
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), f"{path}::{name}"
