"""User identity negotiation (PS3.7 D.3.3.7) as acceptor."""

from __future__ import annotations

import json
import logging
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import argon2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from archive.core import Archive
from config.node import NodeSettings
from config.peers import Peer
from config.settings import Settings
from dicom_node.commands import C_ECHO_RQ
from dicom_node.echo import main as echo_command
from dicom_node.handlers.echo import Echo
from dicom_node.negotiation import BadRequest, accept, read_request
from dicom_node.operation import Caller
from dicom_node.server import DicomServer
from tests.integration.dicom_node.peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    RawPeer,
    associate_rq,
    item,
)
from tests.integration.dicom_node.running import Node, running, wait_until, with_node

CONTEXTS = [(CT_IMAGE_STORAGE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]
NAME, PASSCODE = "bsi.hạnh", "mật khẩu dài"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
HASH = CHEAP.hash(PASSCODE.encode())
REFUSED = (1, 2, 1)
LATER = (2, 3, 1)
SECRET = "0123456789abcdef0123456789abcdef"
ISSUER, AUDIENCE = "https://id.example/", "pacs"


def identity(kind: int, primary: bytes, secondary: bytes = b"", *, response: bool = False) -> bytes:
    """A User Identity sub-item of a request (PS3.7 Table D.3-14)."""
    body = struct.pack(">BBH", kind, response, len(primary)) + primary + struct.pack(">H", len(secondary)) + secondary
    return item(0x58, body)


def with_passcode(name: str = NAME, passcode: str = PASSCODE, **options: Any) -> bytes:
    return identity(2, name.encode(), passcode.encode(), **options)


def with_users(settings: Settings, rule: str = "required", **changes: Any) -> Settings:
    users = [{"name": NAME, "passcode_hash": HASH}, {"name": "phim"}]
    return with_node(settings, identity=rule, users=users, **changes)


@contextmanager
def serving(settings: Settings) -> Iterator[Node]:
    with Archive.open(settings) as archive, running(settings, archive) as node:
        yield node
        node.wait_until_idle()


def outcome(node: Node, items: bytes = b"", calling: str = "CT1", source: str = "") -> tuple[int, ...] | bytes | None:
    """The rejection; else the positive response, or None without one."""
    with node.peer(source=source) as peer:
        peer.send(associate_rq(CONTEXTS, items=items, calling=calling))
        kind, body = peer.receive()
        if kind == 3:
            return tuple(body[1:4])
        assert kind == 2
        return _response(body)


def _response(body: bytes) -> bytes | None:
    """Content of the User Identity sub-item of an A-ASSOCIATE-AC (PS3.7 Table D.3-15)."""
    at = 68
    while body[at] != 0x50:
        at += 4 + int.from_bytes(body[at + 2 : at + 4], "big")
    at += 4
    while at < len(body):
        length = int.from_bytes(body[at + 2 : at + 4], "big")
        if body[at] == 0x59:
            return body[at + 4 : at + 4 + length]
        at += 4 + length
    return None


EMPTY_RESPONSE = b"\0\0"


def test_d_3_3_7_a_right_passcode_is_accepted_and_confirmed_when_asked_for(settings: Settings) -> None:
    with serving(with_users(settings)) as node:
        assert outcome(node, with_passcode()) is None
        # Zero length for types 1 and 2.
        assert outcome(node, with_passcode(response=True)) == EMPTY_RESPONSE


def test_d_3_3_7_a_name_alone_is_for_users_without_passcode(settings: Settings) -> None:
    with serving(with_users(settings)) as node:
        assert outcome(node, identity(1, b"phim", response=True)) == EMPTY_RESPONSE
        assert outcome(node, identity(1, NAME.encode())) == REFUSED
        assert outcome(node, identity(1, b"nobody"), calling="B") == REFUSED


WRONG = {
    "another passcode": with_passcode(passcode="x"),
    "no passcode": with_passcode(passcode=""),
    "another name": with_passcode(name="nobody"),
    "no name": with_passcode(name=""),
    "a name that is not UTF-8": identity(2, b"\xff\xfe", PASSCODE.encode()),
    "an endless passcode": identity(2, NAME.encode(), b"x" * 30_000),
    "a passcode with more behind it": with_passcode(passcode=PASSCODE + "\0"),
    "the hash": with_passcode(passcode=HASH),
}


@pytest.mark.parametrize("rule", ["optional", "required"])
def test_d_3_3_7_a_wrong_identity_is_rejected_by_the_acse_and_nothing_of_it_is_logged(
    settings: Settings, rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(with_users(settings, rule)) as node:
        for number, (what, items) in enumerate(WRONG.items()):
            assert outcome(node, items, calling=f"WS{number}") == REFUSED, what
        assert outcome(node, with_passcode()) is None
    written = json.dumps([vars(record) for record in caplog.records], default=str, ensure_ascii=False)
    assert PASSCODE not in written
    assert HASH not in written


def test_d_3_3_7_without_identity(settings: Settings) -> None:
    for rule, expected in (("required", REFUSED), ("optional", None), ("ignore", None)):
        with serving(with_users(settings, rule)) as node:
            assert outcome(node) == expected, rule


@pytest.mark.parametrize("kind", [3, 4, 5, 6, 0, 255])
def test_d_3_3_7_types_that_are_not_supported_count_as_none(settings: Settings, kind: int) -> None:
    """And so get no positive response, although it is asked for."""
    items = identity(kind, b"ticket", b"", response=True)
    for rule, expected in (("required", REFUSED), ("optional", None)):
        with serving(with_users(settings, rule)) as node:
            assert outcome(node, items) == expected, rule


def test_d_3_3_7_where_identity_is_ignored_nothing_is_checked_or_confirmed(settings: Settings) -> None:
    with serving(with_users(settings, "ignore")) as node:
        assert outcome(node, with_passcode(passcode="wrong", response=True)) is None


def test_d_3_3_7_the_rule_of_a_peer_wins(settings: Settings) -> None:
    peers = (
        Peer(ae_title="CT1", facility="86001", identity="ignore"),
        Peer(ae_title="WS1", facility="86001", identity="required"),
        Peer(ae_title="WS2", facility="86001"),
    )
    chosen = with_users(settings, "optional").model_copy(update={"peers": peers, "unknown_peers": "reject"})
    with serving(chosen) as node:
        assert outcome(node, with_passcode(passcode="wrong"), calling="CT1") is None
        assert outcome(node, calling="WS1") == REFUSED
        assert outcome(node, calling="WS2") is None
        # Who is not admitted is told that, whoever he says he is.
        assert outcome(node, with_passcode(passcode="wrong"), calling="NOBODY") == (1, 1, 3)


def test_the_user_is_known_to_the_operations_and_to_the_log(
    settings: Settings, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seen: list[Caller] = []

    def service(command: Any, context: Any, caller: Caller) -> Echo:
        seen.append(caller)
        return Echo(command, context, caller)

    server = DicomServer(with_users(settings).node, archive.peers, {C_ECHO_RQ: service})
    server.start()
    with RawPeer(server.port).associate(items=with_passcode()) as peer:
        assert peer.echo() == 0
        peer.release()
    server.stop()
    assert [caller.user for caller in seen] == [NAME]
    [accepted] = [record for record in caplog.records if record.message == "association accepted"]
    assert accepted.pacs_fields["user"] == NAME  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["phim\nERROR all is lost", "phim\x1b[2J", "phim\u202e"])
def test_a_name_cannot_forge_the_log(settings: Settings, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with serving(with_node(settings, identity="required", users=[{"name": name}])) as node:
        assert outcome(node, identity(1, name.encode())) is None
    [accepted] = [record for record in caplog.records if record.message == "association accepted"]
    logged = accepted.pacs_fields["user"]  # type: ignore[attr-defined]
    assert logged.startswith("phim?")
    assert logged.isprintable()


def test_who_fails_again_and_again_is_not_listened_to_for_a_while(settings: Settings) -> None:
    with serving(with_users(settings)) as node:
        assert [outcome(node, with_passcode(passcode="wrong")) for _ in range(3)] == [REFUSED] * 3
        # The right one comes too late, and others are not concerned.
        assert outcome(node, with_passcode()) == LATER
        assert outcome(node, with_passcode(), calling="MR1") is None
        assert outcome(node, with_passcode(), source="127.0.0.2") is None
        wait_until(lambda: outcome(node, with_passcode()) is None, "it is listened to again")
        # Forgiven: three more are free.
        assert [outcome(node, with_passcode(passcode="wrong")) for _ in range(3)] == [REFUSED] * 3


def test_many_at_once_are_all_answered(settings: Settings) -> None:
    """With hashes as dear as `python -m dicom_node.passcode` makes them: few at a time, and nobody is mixed up."""
    dear = argon2.PasswordHasher().hash(PASSCODE)
    users = [{"name": f"user{number}", "passcode_hash": dear} for number in range(8)]
    with serving(with_node(settings, identity="required", users=users)) as node, ThreadPoolExecutor(16) as pool:

        def ask(number: int) -> tuple[int, ...] | bytes | None:
            passcode = PASSCODE if number % 2 else "wrong"
            # On a machine with much else to do it may have to come again.
            while (
                answer := outcome(node, with_passcode(f"user{number // 2}", passcode), calling=f"WS{number}")
            ) == LATER:
                pass
            return answer

        answers = list(pool.map(ask, range(16)))
        assert answers[1::2] == [None] * 8
        assert answers[::2] == [REFUSED] * 8


def test_pynetdicom_as_requestor(settings: Settings) -> None:
    with serving(with_users(settings)) as node:
        for passcode, established in ((PASSCODE, True), ("wrong", False)):
            entity = AE(ae_title="CT1")
            entity.add_requested_context(VERIFICATION)
            asked = UserIdentityNegotiation()
            asked.user_identity_type, asked.positive_response_requested = 2, True
            asked.primary_field, asked.secondary_field = NAME.encode(), passcode.encode()
            association = entity.associate("127.0.0.1", node.port, ae_title="PACS", ext_neg=[asked])
            assert association.is_established == established
            if established:
                assert association.send_c_echo().Status == 0
                association.release()


def test_the_echo_command_as_a_user(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "passcode").write_text(PASSCODE + "\n")
    with serving(with_users(settings)) as node:
        call = ["127.0.0.1", str(node.port), "--calling", "CT1"]
        assert echo_command([*call, "--user", NAME, "--passcode-file", str(tmp_path / "passcode")]) == 0
        assert echo_command([*call, "--user", "phim"]) == 0
        assert echo_command(call) == 1


# --- tokens


def claims(**changes: Any) -> dict[str, Any]:
    made = {"sub": "bsi.hanh", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600} | changes
    return {name: value for name, value in made.items() if value is not None}


def token(key: Any, algorithm: str = "ES256", headers: dict[str, Any] | None = None, **changes: Any) -> bytes:
    return identity(5, jwt.encode(claims(**changes), key, algorithm, headers).encode(), response=True)


def public(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def with_tokens(settings: Settings, key_file: Path, **changes: Any) -> Settings:
    chosen = {"key_file": key_file, "issuer": ISSUER, "audience": AUDIENCE} | changes
    return with_node(settings, identity="required", jwt=chosen)


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_type_5_a_token_of_our_issuer_is_accepted(settings: Settings, tmp_path: Path, key: Any) -> None:
    (tmp_path / "key.pem").write_bytes(public(key))
    with serving(with_tokens(settings, tmp_path / "key.pem")) as node:
        assert outcome(node, token(key)) == EMPTY_RESPONSE


def test_type_5_whatever_is_wrong_with_a_token_it_is_refused(
    settings: Settings, tmp_path: Path, key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key.pem").write_bytes(public(key))
    other = ec.generate_private_key(ec.SECP256R1())
    stranger = rsa.generate_private_key(65537, 2048)
    good = jwt.encode(claims(), key, "ES256")
    head, body, signature = good.split(".")
    unsigned = jwt.encode(claims(), None, "none")
    wrong = {
        "expired": token(key, exp=int(time.time()) - 60),
        "without expiry": token(key, exp=None),
        "not yet valid": token(key, nbf=int(time.time()) + 600),
        "of another issuer": token(key, iss="https://evil.example/"),
        "without issuer": token(key, iss=None),
        "for another audience": token(key, aud="others"),
        "without audience": token(key, aud=None),
        "without name": token(key, sub=None),
        "with an empty name": token(key, sub=" "),
        "signed by another": token(other),
        "signed with a key of another kind": token(stranger, "RS256"),
        "signed with an algorithm that is not allowed": token(stranger, "PS256"),
        "not signed": identity(5, unsigned.encode()),
        "with its signature taken away": identity(5, f"{head}.{body}.".encode()),
        "changed": identity(5, f"{head}.{body[:-2]}xx.{signature}".encode()),
        # The public key taken for a secret: what a library without a list of algorithms falls for.
        "signed with the public key": identity(5, _hs256(claims(), public(key))),
        "naming a key that we do not have": token(other, headers={"kid": "x"}),
        "of garbage": identity(5, b"\xff" * 50),
        "of dots": identity(5, b".."),
        "empty": identity(5, b""),
        "endless": identity(5, b"a" * 40_000),
        "nested deeply": identity(5, jwt.utils.base64url_encode(b"[" * 10_000) + b"." + body.encode() + b".x"),
    }
    with serving(with_tokens(settings, tmp_path / "key.pem")) as node:
        for number, (what, items) in enumerate(wrong.items()):
            assert outcome(node, items, calling=f"WS{number}") == REFUSED, what
    written = json.dumps([vars(record) for record in caplog.records], default=str)
    assert body not in written


def _hs256(content: dict[str, Any], secret: bytes) -> bytes:
    """PyJWT refuses to make such a token."""
    import hmac

    head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}')
    signed = head + b"." + jwt.utils.base64url_encode(json.dumps(content).encode())
    return signed + b"." + jwt.utils.base64url_encode(hmac.digest(secret, signed, "sha256"))


def test_type_5_keys_of_a_jwks_are_exchanged_while_the_node_runs(settings: Settings, tmp_path: Path, key: Any) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "keys.jwks"
    path.write_text(_jwks(a=key))
    with serving(with_tokens(settings, path)) as node:
        assert outcome(node, token(key, headers={"kid": "a"})) == EMPTY_RESPONSE
        assert outcome(node, token(key)) == EMPTY_RESPONSE
        assert outcome(node, token(other, headers={"kid": "b"}), calling="X1") == REFUSED
        path.write_text(_jwks(a=key, b=other))
        assert outcome(node, token(other, headers={"kid": "b"})) == EMPTY_RESPONSE
        assert outcome(node, token(key, headers={"kid": "b"}), calling="X2") == REFUSED
        # Of two, it must say which.
        assert outcome(node, token(key), calling="X3") == REFUSED
        path.write_text("{")
        assert outcome(node, token(other, headers={"kid": "b"})) == EMPTY_RESPONSE
        path.write_text(_jwks(b=other))
        assert outcome(node, token(key, headers={"kid": "a"}), calling="X4") == REFUSED


def _jwks(**keys: Any) -> str:
    algorithm = jwt.algorithms.ECAlgorithm
    made = [json.loads(algorithm.to_jwk(key.public_key())) | {"kid": name, "use": "sig"} for name, key in keys.items()]
    return json.dumps({"keys": made})


def test_type_5_a_shared_secret(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    chosen = with_tokens(settings, tmp_path / "secret", algorithms=["HS256"], name_claim="name")
    with serving(chosen) as node:
        assert outcome(node, token(SECRET, "HS256", name="Hạnh")) == EMPTY_RESPONSE
        assert outcome(node, token("x" * 32, "HS256", name="Hạnh"), calling="A") == REFUSED
        assert outcome(node, token(SECRET, "HS256"), calling="B") == REFUSED


UNUSABLE = {
    "missing": (None, ["ES256"], "No such file"),
    "empty": (b"", ["ES256"], "key_file"),
    "a private key": (b"-----BEGIN PRIVATE KEY-----", ["ES256"], "private key"),
    "a short secret": (b"geheim", ["HS256"], "less than 32 bytes"),
    "a public key as secret": (b"-----BEGIN PUBLIC KEY-----" + bytes(40), ["HS256"], "no secret"),
    "a broken JWKS": (b'{"keys": [', ["ES256"], "key_file"),
    "a JWKS without keys": (b'{"keys": []}', ["ES256"], "key_file"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_key_file_that_cannot_be_used_stops_the_start(
    settings: Settings, archive: Archive, tmp_path: Path, what: str
) -> None:
    content, algorithms, reason = UNUSABLE[what]
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    chosen = with_tokens(settings, tmp_path / "key", algorithms=algorithms)
    with pytest.raises(ValueError, match=reason) as caught:
        DicomServer(chosen.node, archive.peers, {})
    assert "geheim" not in str(caught.value)


# --- malformed items


MALFORMED = {
    "empty": item(0x58, b""),
    "cut in the head": item(0x58, b"\2\0\0"),
    "primary longer than the item": item(0x58, b"\2\0\xff\xffab\0\0"),
    "secondary longer than the item": item(0x58, b"\2\0\0\1a\0\5b"),
    "without secondary length": item(0x58, b"\1\0\0\1a"),
    "bytes behind it": item(0x58, b"\1\0\0\1a\0\0more"),
    "two of them": with_passcode() + with_passcode(),
}


def test_d_3_3_7_1_a_malformed_item_is_aborted_as_a_malformed_request(settings: Settings) -> None:
    with serving(with_users(settings)) as node:
        for what, items in MALFORMED.items():
            with node.peer() as peer:
                peer.send(associate_rq(CONTEXTS, items=items))
                assert peer.receive() == (7, bytes(4)), what


@given(st.binary(max_size=60), st.booleans())
def test_whatever_is_in_the_item_it_is_read_or_refused(body: bytes, twice: bool) -> None:
    items = item(0x58, body) * (2 if twice else 1)
    try:
        request = read_request(associate_rq(CONTEXTS, items=items))
    except BadRequest:
        return
    assert not twice
    found = request.identity
    assert found is not None
    assert body[0] == found.kind
    assert body[4:] == found.primary + struct.pack(">H", len(found.secondary)) + found.secondary
    assert accept(request, NodeSettings().maximum_pdu_length, b"").pdu.count(b"\x59\0\0\2\0\0") == 1


@pytest.mark.slow
def test_a_thousand_mutated_identities_leave_nothing_behind(settings: Settings) -> None:
    """On the wire: each gets an answer or an abort, and an honest peer notices nothing."""
    seeds = [with_passcode(response=True), identity(5, b"a.b.c"), identity(1, b"phim"), identity(3, bytes(300))]
    users = with_users(settings, "optional", artim_timeout=5)
    with serving(users) as node, node.peer().associate(items=with_passcode()) as honest:

        @hypothesis_settings(max_examples=1000, suppress_health_check=list(HealthCheck), database=None)
        @given(
            st.sampled_from(seeds),
            st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
            st.integers(0, 9999),
        )
        def mutate(seed: bytes, changes: list[tuple[int, int]], calling: int) -> None:
            data = bytearray(seed)
            for place, value in changes:
                data[place % len(data)] = value
            with node.peer() as peer:
                peer.send(associate_rq(CONTEXTS, items=bytes(data), calling=f"F{calling}"))
                assert peer.receive()[0] in (2, 3, 7)

        mutate()
        assert honest.echo() == 0
        honest.release()
