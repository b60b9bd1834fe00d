"""Who calls, what comes instead of messages, and peers that hang, flood or vanish (MLLP release 2)."""

from __future__ import annotations

import random
import socket
import ssl
from pathlib import Path

import pytest

from archive.core import Archive
from archive.hl7.listener import Listener
from config.settings import Settings
from tests.certificates import Authority
from tests.hl7 import field_of, header, items, listening, log, order, read_frame, said, send, with_hl7


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    sock = socket.create_connection((host, port), timeout=60)
    sock.settimeout(60)
    return sock


def test_a_sender_that_is_not_listed_is_refused_and_leaves_nothing(archive: Archive, listener: Listener) -> None:
    [answer] = send(listener.port, order("1", f3="OTHER"))
    assert answer[1:3] == ["AR", "1"]
    assert log(archive) == []


def test_a_sender_is_refused_from_another_address(settings: Settings) -> None:
    with Archive.open(with_hl7(settings, {"addresses": ["10.1.2.3"]})) as archive, listening(archive) as listener:
        assert send(listener.port, order("1"))[0][1] == "AR"
        assert items(archive) == []


def test_the_more_exact_of_two_senders_counts(settings: Settings) -> None:
    both = with_hl7(settings, {"name": "any", "sending_facility": ""}, {"name": "exact", "facility": "86002"})
    with Archive.open(both) as archive, listening(archive) as listener:
        send(listener.port, order("1"), order("2", accession="A2", f4="OTHER"))
        assert [line.peer for line in log(archive)] == ["exact", "any"]
        assert {item.order()["AccessionNumber"]: item.facility for item in items(archive)} == {
            "A100": "86002",
            "A2": "86001",
        }


def test_messages_that_may_not_be_sent(settings: Settings) -> None:
    with Archive.open(with_hl7(settings, {"messages": ["patients"]})) as archive, listening(archive) as listener:
        answers = send(
            listener.port, order("1"), order("2", f11="T"), order("3", f12="3.0"), order("", f10=""),
            header("ADT^Z99", "5") + "\r", header("QRY^A19", "6") + "\r",
        )  # fmt: skip
        assert [answer[1] for answer in answers] == ["AR", "AR", "AR", "AE", "AR", "AR"]
        assert items(archive) == []


@pytest.mark.parametrize(
    ("name", "codec", "given"),
    [
        ("8859/1", "latin-1", {}),
        ("", "utf-8", {}),
        ("UNICODE UTF-8", "utf-8", {}),
        ("WINDOWS-1258", "cp1258", {}),
        ("8859/1", "cp1258", {"actual_character_set": "windows-1258"}),
        ("", "cp1258", {"default_character_set": "windows-1258"}),
        ("", "tcvn3", {"default_character_set": "TCVN3"}),
        ("", "vni", {"default_character_set": "VNI"}),
    ],
)
def test_names_in_the_character_sets_of_vietnam(
    settings: Settings, name: str, codec: str, given: dict[str, str]
) -> None:
    written = {
        "latin-1": "NGUYEN^ÂN".encode("latin-1"),
        "utf-8": "Nguyễn^Đức".encode(),
        "cp1258": "Nguyê\u0303n^Đư\u0301c".encode("cp1258"),
        "tcvn3": b"Nguy\xd4n^\xa7\xf8c",
        "vni": "Nguyeãn^Ñöùc".encode("cp1252"),
    }[codec]
    expected = {"latin-1": "NGUYEN^ÂN"}.get(codec, "Nguyễn^Đức")
    message = order("1", f18=name).encode("ascii", "replace").split(b"\r")
    pid = b"PID|1||BN1^^^BVDK^MR||" + written + b"||19620512|M"
    data = b"\r".join(pid if line.startswith(b"PID") else line for line in message)
    with Archive.open(with_hl7(settings, given)) as archive, listening(archive) as listener:
        answer = send(listener.port, data)[0]
        assert answer[1] == "AA", answer
        assert said(archive)["PatientName"] == expected


def test_text_in_another_character_set_than_named_is_told_by_its_field(archive: Archive, listener: Listener) -> None:
    data = order("1").encode().replace("NGUYỄN".encode(), b"NGUY\xd4N")
    assert "PID-5" in send(listener.port, data)[0][3]
    assert "MSH-18" in send(listener.port, order("2", f18="KLINGON"))[0][3]


def test_line_ends_delimiters_and_escapes_as_they_come(archive: Archive, listener: Listener) -> None:
    lines = order("1", service="CT01^Sọ \\T\\ xoang \\X28\\P\\X29\\").split("\r")
    assert send(listener.port, "\n".join(lines))[0][1] == "AA"
    assert said(archive)["RequestedProcedureDescription"] == "Sọ & xoang (P)"
    assert send(listener.port, "\r\n".join(order("2").split("\r")) + "\r\n\r\n")[0][1] == "AA"
    odd = order("3").replace("^~\\&", "\0").replace("|", "#").replace("^", "*").replace("~", "@").replace("\0", "*@!%")
    with connect(listener.port) as sock:
        sock.sendall(b"\x0b" + odd.encode() + b"\x1c\r")
        assert read_frame(sock).decode().split("\r")[1] == "MSA#AA#3"


def test_frames_as_they_come(archive: Archive, listener: Listener) -> None:
    with connect(listener.port) as sock:
        # Byte by byte, without the last CR, and two at once.
        for byte in b"\r\n\x0b" + order("1").encode() + b"\x1c":
            sock.sendall(bytes((byte,)))
        assert field_of(read_frame(sock).decode(), "MSA")[1:3] == ["AA", "1"]
        sock.sendall(b"".join(b"\x0b" + order(n).encode() + b"\x1c\r" for n in ("2", "3")))
        assert field_of(read_frame(sock).decode(), "MSA")[2] == "2"
        assert field_of(read_frame(sock).decode(), "MSA")[2] == "3"


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", b"\x0bMSH|^~\\&|a\x0bMSH|", b"\x16\x03\x01\x02\x00\x01", b"\x1c\r"]
)
def test_what_is_no_frame_ends_the_connection(archive: Archive, listener: Listener, junk: bytes) -> None:
    with connect(listener.port) as sock:
        sock.sendall(junk)
        assert sock.recv(100) == b""
    assert send(listener.port, order("1"))[0][1] == "AA"


def test_what_is_no_message_is_answered(archive: Archive, listener: Listener) -> None:
    with connect(listener.port) as sock:
        for junk in (b"", b"PID|1", b"MSH", b"MSHA^~", b"MSH|||||", b"\xff\xfe\x00"):
            sock.sendall(b"\x0b" + junk + b"\x1c\r")
            assert field_of(read_frame(sock).decode(), "MSA")[1] == "AR"


def test_a_message_that_is_too_long_is_refused(settings: Settings) -> None:
    with Archive.open(with_hl7(settings, maximum_message_bytes=2000)) as archive, listening(archive) as listener:
        with connect(listener.port) as sock:
            sock.sendall(b"\x0b" + order("1").encode() + b"OBX|" + b"x" * 3000)
            answer = read_frame(sock).decode()
            assert field_of(answer, "MSA")[1:3] == ["AR", "1"]
            assert sock.recv(100) == b""
        assert send(listener.port, order("1"))[0][1] == "AA"


def test_a_peer_that_hangs_in_a_message_is_let_go(settings: Settings) -> None:
    with Archive.open(with_hl7(settings, message_timeout=0.2)) as archive, listening(archive) as listener:
        with connect(listener.port) as sock:
            sock.sendall(b"\x0bMSH|")
            assert sock.recv(100) == b""
        assert send(listener.port, order("1"))[0][1] == "AA"
        assert len(log(archive)) == 1


def test_one_address_cannot_take_all_places(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archive.hl7.listener._SPARED", 3600.0)
    few = with_hl7(settings, maximum_connections_of_address=3)
    with Archive.open(few) as archive, listening(archive) as listener:
        held = [connect(listener.port) for _ in range(3)]
        with connect(listener.port) as over:
            assert over.recv(1) == b""
        held.pop().close()
        for sock in held:
            sock.sendall(b"\x0b" + order("1").encode() + b"\x1c\r")
            assert b"MSA|AA|1" in read_frame(sock)
            sock.close()


def test_ipv6(settings: Settings) -> None:
    with (
        Archive.open(with_hl7(settings, {"addresses": ["::1"]}, host="::1")) as archive,
        listening(archive) as listener,
        connect(listener.port, "::1") as sock,
    ):
        sock.sendall(b"\x0b" + order("1").encode() + b"\x1c\r")
        assert b"MSA|AA|1" in read_frame(sock)


def test_tls_with_the_certificate_of_the_sender(settings: Settings, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    own, his, other = authority.pair("pacs"), authority.pair("his.example"), authority.pair("other.example")
    tls = {"port": 0, "certificate_file": own.certificate, "private_key_file": own.key, "ca_file": authority.file}
    given = with_hl7(settings, {"certificates": ["his.example"]}, tls=tls)
    with Archive.open(given) as archive, listening(archive) as listener:
        found = []
        for pair in (his, other, None):
            context = ssl.create_default_context(cafile=str(authority.file))
            context.check_hostname = False
            if pair is not None:
                context.load_cert_chain(pair.certificate, pair.key)
            with context.wrap_socket(connect(listener.tls_port)) as sock:
                sock.sendall(b"\x0b" + order("1").encode() + b"\x1c\r")
                found.append(field_of(read_frame(sock).decode(), "MSA")[1])
        assert found == ["AA", "AR", "AR"]
        assert send(listener.port, order("1"))[0][1] == "AR", "without TLS it has no certificate"


def test_damaged_messages_are_answered_or_the_connection_is_closed(archive: Archive, listener: Listener) -> None:
    """Seeded: bytes changed, cut, doubled, delimiters moved; never silence, and the service goes on."""
    dice = random.Random(20261122)
    base = order("1").encode()
    for turn in range(80):
        data = bytearray(base.replace(b"|1|P|", b"|%d|P|" % turn))
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(data))
            kind = dice.randrange(5)
            if kind == 0:
                data[at] = dice.randrange(256)
            elif kind == 1:
                del data[at : at + dice.randint(1, 40)]
            elif kind == 2:
                data[at:at] = data[at : at + dice.randint(1, 60)]
            elif kind == 3:
                data[at:at] = dice.choice(
                    [b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\0", b'""', b"\\X4\\", b"\xc3"]
                )
            else:
                data[at : at + 1] = bytes(dice.randrange(256) for _ in range(dice.randint(1, 9)))
        with connect(listener.port) as sock:
            sock.sendall(b"\x0b" + bytes(data) + b"\x1c\r")
            try:
                answer = read_frame(sock)
            except EOFError:
                continue
            assert b"MSA" in answer
    assert send(listener.port, order("again", accession="LAST"))[0][1] == "AA"
    assert {line.state for line in log(archive)} <= {"done", "refused"}
    assert not [line for line in log(archive) if "internal error" in line.error]
