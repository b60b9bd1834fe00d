"""The self-assessment by Circular 54/2017/TT-BYT names only what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from viewer_api.pages.tt54 import Criterion, criteria

ROOT = Path(__file__).parents[2]


def test_every_criterion_of_the_group_is_there_once() -> None:
    assert [each.number for each in criteria()] == list(range(62, 80))
    assert [each.level for each in criteria()] == ["basic"] * 14 + ["advanced"] * 4
    assert {each.state for each in criteria()} <= {"met", "partly"}


@pytest.mark.parametrize("criterion", criteria(), ids=lambda each: str(each.number))
def test_tests_and_images_that_are_named_exist(criterion: Criterion) -> None:
    assert criterion.tests
    for test in criterion.tests:
        file, name = test.split("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), test
    if criterion.image:
        assert (ROOT / "docs" / "images" / criterion.image).is_file()


def test_what_is_met_in_part_says_what_is_missing() -> None:
    for criterion in criteria():
        if criterion.state == "partly":
            assert re.search("[Cc]hưa|Không", criterion.how), criterion.number
