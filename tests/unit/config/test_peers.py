"""Who is behind an AE title and an address."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from config.peers import UNKNOWN_FACILITY, Facility, Peer, PeerBook

HOSPITAL = Facility(code="87001", name="Bệnh viện Đa khoa")
CT = Peer(ae_title="CT1", facility="87001", addresses=("10.1.2.0/24", "10.9.9.9"))
ANYWHERE = Peer(ae_title="PORTABLE", facility="87001")


def book(unknown: str = "reject") -> PeerBook:
    return PeerBook((HOSPITAL,), (CT, ANYWHERE), unknown)


@pytest.mark.parametrize("address", ["10.1.2.3", "10.1.2.255", "10.9.9.9", "::ffff:10.1.2.3"])
def test_a_peer_is_found_at_its_addresses(address: str) -> None:
    assert book().find("CT1", address) is CT


def test_padding_of_an_ae_title_is_not_significant() -> None:
    assert book().find(" CT1     ", "10.1.2.3") is CT


def test_a_peer_without_addresses_may_call_from_anywhere() -> None:
    assert book().find("PORTABLE", "2001:db8::7") is ANYWHERE


@pytest.mark.parametrize("unknown", ["reject", "accept"])
def test_a_listed_title_from_elsewhere_is_refused_even_where_anyone_may_call(unknown: str) -> None:
    assert book(unknown).find("CT1", "10.1.3.1") is None


def test_unlisted_peers_are_refused_by_default() -> None:
    assert book().find("STRANGER", "10.1.2.3") is None


def test_unlisted_peers_belong_to_the_unknown_facility_where_they_are_accepted() -> None:
    found = book("accept").find("STRANGER", "10.1.2.3")
    assert found is not None
    assert (found.ae_title, found.facility) == ("STRANGER", UNKNOWN_FACILITY.code)
    assert found.rights == {"store", "commit"}
    assert not found.host


def test_the_case_of_an_ae_title_is_significant() -> None:
    assert book().find("ct1", "10.1.2.3") is None


def test_a_facility_is_found_by_its_code() -> None:
    assert book().facility("87001") is HOSPITAL
    assert book().facility("UNKNOWN") is UNKNOWN_FACILITY
    with pytest.raises(KeyError):
        book().facility("99999")


def test_the_facility_code_is_the_issuer_unless_another_is_set() -> None:
    assert HOSPITAL.issuer == "87001"
    assert Facility(code="87001", name="x", issuer_of_patient_id="VN-HIS").issuer == "VN-HIS"


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "BACK\\SLASH", "TAB\tTAB", "BỆNH_VIỆN"])
def test_what_is_not_an_ae_title_is_refused(title: str) -> None:
    with pytest.raises(ValidationError, match="is not an AE title"):
        Peer(ae_title=title, facility="87001")


@pytest.mark.parametrize("address", ["10.1.2", "hospital.example", "10.1.2.0/33"])
def test_what_is_not_a_network_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="is not an IP address or network"):
        Peer(ae_title="CT1", facility="87001", addresses=(address,))


@pytest.mark.parametrize(
    "place",
    [
        {"host": "10.1.2.3"},
        {"port": 104},
        {"host": "", "port": 104},
        {"host": "a b", "port": 104},
        {"host": "x", "port": 0},
    ],
)
def test_a_move_destination_needs_a_host_and_a_port(place: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Peer(ae_title="CT1", facility="87001", **place)


@pytest.mark.parametrize("host", ["10.1.2.3", "fe80::1", "ws-1.hospital.example"])
def test_a_move_destination_is_named_or_numbered(host: str) -> None:
    assert Peer(ae_title="CT1", facility="87001", host=host, port=104).host == host


@pytest.mark.parametrize("term", ["latin-1", "ISO 2022 IR 149", "ISO_IR 13", ""])
def test_character_sets_that_no_answer_can_be_written_in_are_refused(term: str) -> None:
    with pytest.raises(ValidationError):
        Peer(ae_title="CT1", facility="87001", character_sets=("ISO_IR 100", term))
