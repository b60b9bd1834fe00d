"""RFC 6238 Appendix B, and the ways in which codes are typed."""

from __future__ import annotations

import pytest

from archive.people import factor
from archive.people.passwords import faults

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    # The table has eight digits, of which ours are the last six.
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    assert factor.code_at(SECRET, factor.step_at(seconds)) == code
    assert factor.matching_step(SECRET, code, seconds, 0) == factor.step_at(seconds)


def test_clocks_may_differ_by_a_step_and_no_more() -> None:
    now = 1_000_000_000
    step = factor.step_at(now)
    for off, taken in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        assert (factor.matching_step(SECRET, factor.code_at(SECRET, step + off), now, 0) is not None) is taken


def test_a_step_that_was_used_is_not_used_again() -> None:
    now = 1_000_000_000
    step = factor.step_at(now)
    assert factor.matching_step(SECRET, factor.code_at(SECRET, step), now, step) is None
    assert factor.matching_step(SECRET, factor.code_at(SECRET, step + 1), now, step) == step + 1


@pytest.mark.parametrize("typed", ["", "28708", "2870822", "٢٨٧٠٨٢", "28708a", "287082; DROP"])
def test_what_is_no_code_is_none(typed: str) -> None:
    assert factor.matching_step(SECRET, typed, 59, 0) is None


def test_codes_may_be_typed_in_groups() -> None:
    assert factor.matching_step(SECRET, " 287 082 ", 59, 0) == 1
    assert factor.recovery_digest("ABCD-efgh ijkl-mnop") == factor.recovery_digest("abcdefghijklmnop")


def test_the_address_for_authenticators_quotes_names() -> None:
    made = factor.address(SECRET, "lan@bv.vn", "Kho ảnh & phim")
    assert made.startswith("otpauth://totp/Kho%20%E1%BA%A3nh%20%26%20phim%3Alan%40bv.vn?secret=GEZDGNBV")


@pytest.mark.parametrize(
    ("password", "with_factor", "found"),
    [
        ("Abcdef1!", True, []),
        ("abcdefgh", True, []),
        ("abcdefg", True, ["too_short"]),
        ("Abcdef1!", False, ["too_short"]),
        ("Abcdefghijklm1!", False, []),
        ("abcdefghijklmn1", False, ["too_plain"]),
        ("Đường-về-quê-8 km", False, []),
        ("x" * 129, True, ["too_long"]),
        ("Ab1!Ab1!Ab1!Ab1!", False, ["too_even"]),
        ("Abcd-ef-LAN.NGUYEN-1", False, ["has_name"]),
    ],
)
def test_rules_of_passwords(password: str, with_factor: bool, found: list[str]) -> None:
    assert faults(password, "lan.nguyen", with_factor=with_factor) == found
