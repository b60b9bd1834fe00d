"""Settings of the node that belong together, and those of peers that concern TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from config.node import JWTSettings, NodeSettings, TLSSettings
from config.peers import Limits, Peer, plain_address
from config.settings import SettingsError, load

FINGERPRINT = "ab" * 32
COLONS = ":".join(["AB"] * 32)


def refused(sentence: str, **node: Any) -> None:
    with pytest.raises(ValidationError, match=sentence):
        NodeSettings(**node)


def test_tls_is_on_when_there_is_a_certificate(tmp_path: Path) -> None:
    assert not NodeSettings().tls.listens
    assert NodeSettings(tls={"certificate_file": "a", "private_key_file": "b"}).tls.listens


def test_what_tls_needs_is_given_together() -> None:
    refused("together", tls={"certificate_file": "a"})
    refused("together", tls={"private_key_file": "a"})
    refused("needs ca_file", tls={"certificate_file": "a", "private_key_file": "b", "client_certificates": "required"})
    refused("nobody could call", plain=False)
    refused("the same", port=2762, tls={"certificate_file": "a", "private_key_file": "b"})


def test_certificates_are_asked_for_when_there_is_who_vouches_for_them() -> None:
    assert not TLSSettings().asks_for_certificates
    assert TLSSettings(ca_file="x").asks_for_certificates
    assert not TLSSettings(ca_file="x", client_certificates="none").asks_for_certificates


def test_the_password_of_the_key_comes_from_a_file_and_does_not_show(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim-0123\n")
    tls = TLSSettings(private_key_password_file=tmp_path / "password")
    assert tls.password() == "geheim-0123"
    assert TLSSettings(private_key_password="geheim-0123").password() == "geheim-0123"
    assert "geheim" not in repr(tls) + repr(TLSSettings(private_key_password="geheim-0123"))
    # Only the node needs it: settings that other processes read name a file that those need not see.
    with pytest.raises(ValueError, match="no-such-file"):
        TLSSettings(private_key_password_file=tmp_path / "no-such-file").password()
    refused("not both", tls={"private_key_password_file": tmp_path / "password", "private_key_password": "x"})


def test_tokens_need_an_issuer_and_an_audience_and_kinds_of_keys_are_not_mixed() -> None:
    refused("issuer and audience", jwt={"key_file": "k"})
    refused("issuer and audience", jwt={"key_file": "k", "issuer": "i"})
    refused("cannot stand beside", jwt={"algorithms": ["HS256", "RS256"]})
    refused("algorithms", jwt={"algorithms": ["none"]})
    refused("algorithms", jwt={"algorithms": []})
    assert JWTSettings(algorithms=("HS256", "HS512")).algorithms


@pytest.mark.parametrize("hashed", ["geheim", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=1,t=1,p=1$x"])
def test_a_passcode_that_is_not_hashed_is_refused_and_not_repeated(tmp_path: Path, hashed: str) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text(f'[[node.users]]\nname = "a"\npasscode_hash = "{hashed}"\n')
    with pytest.raises(SettingsError, match=r"python -m dicom_node\.passcode") as caught:
        load(path, environ={})
    assert hashed not in str(caught.value)


def test_a_user_is_listed_once() -> None:
    refused("user given twice: a", users=[{"name": "a"}, {"name": "b"}, {"name": "a"}])


@pytest.mark.parametrize(
    "written",
    [FINGERPRINT, FINGERPRINT.upper(), COLONS, f"sha256:{FINGERPRINT}", f"SHA256:{COLONS}", f" SHA-256={COLONS} ",
     f"sha256 Fingerprint={COLONS}"],
)  # fmt: skip
def test_a_fingerprint_is_taken_as_tools_print_it(written: str) -> None:
    peer = Peer(ae_title="CT1", facility="1", tls=True, certificates=(written,))
    assert peer.certificates == (f"sha256:{FINGERPRINT}",)


@pytest.mark.parametrize("name", ["ct1.bvdk.example", "CN=CT1,O=Sở Y tế", "10.1.2.3", "fe80::1", "CT 1"])
def test_any_other_text_is_a_name(name: str) -> None:
    assert Peer(ae_title="CT1", facility="1", tls=True, certificates=(name,)).certificates == (name,)


@pytest.mark.parametrize("wrong", ["", "sha256:12", COLONS[:-3], ":".join(["AB"] * 20), "ab" * 20, f"SHA-1={COLONS}"])
def test_half_a_fingerprint_or_one_of_another_kind_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="neither the SHA-256 fingerprint nor a name"):
        Peer(ae_title="CT1", facility="1", tls=True, certificates=(wrong,))


def test_a_peer_that_is_known_by_certificates_must_use_tls() -> None:
    with pytest.raises(ValidationError, match="would let it call without any"):
        Peer(ae_title="CT1", facility="1", certificates=(FINGERPRINT,))
    with pytest.raises(ValidationError, match="called by TLS"):
        Peer(ae_title="CT1", facility="1", tls_name="x")


PEER = {"ae_title": "CT1", "facility": "UNKNOWN", "tls": True}
PAIR = {"certificate_file": "a", "private_key_file": "b"}


@pytest.mark.parametrize(
    ("peer", "tls", "sentence"),
    [
        (PEER, {}, "CT1 must call by TLS: node.tls.certificate_file is missing"),
        (PEER | {"host": "x", "port": 1}, PAIR, "CT1 is called by TLS: node.tls.ca_file must say whom to trust"),
        (PEER | {"certificates": ["ct1"]}, PAIR, "CT1 has certificates: node.tls must have ca_file"),
        (
            PEER | {"certificates": ["ct1"]},
            PAIR | {"ca_file": "c", "client_certificates": "none"},
            "CT1 has certificates: node.tls must have ca_file, and ask for them",
        ),
    ],
)
def test_what_a_peer_demands_the_node_must_be_able_to_check(
    peer: dict[str, Any], tls: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load(environ={}, peers=[peer], node={"tls": tls})


def test_limits_that_are_not_set_are_the_nodes_and_nonsense_is_refused() -> None:
    assert set(Limits().model_dump().values()) == {None}
    for limits in ({"maximum_associations": 0}, {"maximum_pdu_length": 100}, {"idle_timeout": 0}, {"colour": 1}):
        with pytest.raises(ValidationError):
            Limits(**limits)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8:0::7", "2001:db8::7"),
    ],
)
def test_addresses_are_compared_in_one_form(given: str, plain: str) -> None:
    assert plain_address(given) == plain
    assert Peer(ae_title="CT1", facility="1", addresses=(plain,)).calls_from(given)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("::ffff:10.1.0.0/112", "10.1.200.1", "10.2.0.1"),
        ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("2001:db8::/32", "2001:db8::7", "10.1.2.3"),
        ("::/0", "fe80::1", "10.1.2.3"),
    ],
)
def test_networks_of_mapped_addresses_are_those_of_ipv4(network: str, inside: str, outside: str) -> None:
    peer = Peer(ae_title="CT1", facility="1", addresses=(network,))
    assert peer.calls_from(inside)
    assert not peer.calls_from(outside)
