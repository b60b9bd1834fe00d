"""What the decision on a request is made of: places, failures, certificates, files that change."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.certificate import PeerCertificate
from config.node import TLSSettings
from config.tls import BadTLSFile, Credentials, ExpiryWatch, certificates_in
from config.watched import Watched
from dicom_node import certificates, passcode
from dicom_node.identity import LONGEST_BAN, Failures, Proved, printable
from dicom_node.wire import Pace
from tests.certificates import Authority

# --- failures


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_ban_doubles_with_each_failure_up_to_its_longest() -> None:
    clock = Clock()
    failures = Failures(clock)
    bans = []
    for _ in range(14):
        failures.add(("10.1.2.3", "WS1"))
        begun = clock.now
        while failures.banned(("10.1.2.3", "WS1")):
            clock.now += 0.5
        bans.append(clock.now - begun)
    assert bans[:6] == [0, 0, 1, 2, 4, 8]
    assert bans[-1] == LONGEST_BAN
    assert not failures.banned(("10.1.2.3", "WS2"))
    failures.forgive(("10.1.2.3", "WS1"))
    assert failures.add(("10.1.2.3", "WS1")) == 1


def test_failures_of_endlessly_many_names_are_not_all_kept() -> None:
    failures = Failures()
    for number in range(5000):
        failures.add(("10.1.2.3", str(number)))
    assert len(failures._of) == 1000


def test_a_passcode_that_was_right_is_not_hashed_again_and_a_wrong_one_is() -> None:
    import argon2

    proved = Proved()
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(b"right")
    assert [proved.right("a", hashed, code) for code in (b"wrong", b"right")] == [False, True]

    class Broken:
        def verify(self, *_: object) -> None:
            raise argon2.exceptions.VerifyMismatchError

    proved._hasher = Broken()  # type: ignore[assignment]
    assert proved.right("a", hashed, b"right")
    # Neither for another name, nor another hash, nor with the parts cut elsewhere.
    assert not proved.right("b", hashed, b"right")
    assert not proved.right("a", hashed + "x", b"right")
    assert not proved.right("ar", hashed, b"ight")
    assert not proved.right("a", hashed, b"wrong")


@given(st.text())
def test_names_are_printable_and_short(name: str) -> None:
    shown = printable(name)
    assert len(shown) <= 64
    assert all(each.isprintable() for each in shown)


# --- pace


def too_slow(pace: Pace, count: int, seconds: float) -> bool:
    """Count, with windows of ten seconds."""
    pace.count += count
    pace.seconds += seconds
    return pace.seconds >= 10 and pace.was_too_slow()


def test_pace_looks_at_each_window_alone() -> None:
    """What was sent fast in the beginning is no credit for the end."""
    pace = Pace(100)
    assert not too_slow(pace, 1 << 30, 9.9)
    assert not too_slow(pace, 1, 0.2)
    assert not too_slow(pace, 999, 9.9)
    assert too_slow(pace, 0, 0.2)
    # A window has ended, and another begins.
    assert not too_slow(pace, 0, 9.9)


def test_without_a_rate_nothing_is_too_slow() -> None:
    pace = Pace(0)
    assert not any(too_slow(pace, 0, 1000) for _ in range(3))


# --- certificates


def test_a_certificate_is_one_of_those_by_fingerprint_or_name_but_not_by_part_of_it() -> None:
    shown = PeerCertificate("sha256:aa", "CN=CT1", frozenset({"ct1", "cn=ct1", "ct1.example"}))
    assert shown.is_one_of(("sha256:bb", "sha256:aa"))
    assert shown.is_one_of(("CT1",))
    assert shown.is_one_of(("x", "Ct1.Example"))
    assert not shown.is_one_of(())
    assert not shown.is_one_of(("ct", "example", "*.example", "sha256:a", "SHA256:AA"))


def test_a_bundle_has_all_its_certificates(tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "a"), Authority(tmp_path, "b")
    bundle = tmp_path / "bundle"
    bundle.write_bytes(first.file.read_bytes() + second.file.read_bytes())
    assert [each.subject for each in certificates_in(bundle)] == ["CN=Test CA a,O=Sở Y tế", "CN=Test CA b,O=Sở Y tế"]
    bundle.write_text("nothing")
    with pytest.raises(BadTLSFile, match="bundle"):
        certificates_in(bundle)


def test_expiry_is_said_once_a_day_and_louder_when_it_is_too_late(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    said = []
    for days in (60, 12, -1):
        own = authority.pair("node", days=days)
        watch = ExpiryWatch(
            TLSSettings(certificate_file=own.certificate, private_key_file=own.key, expiry_warning_days=14)
        )
        for _ in range(3):
            assert watch.look() > 0
        said.append([(record.levelname, record.message) for record in caplog.records])
        caplog.clear()
    assert said == [
        [],
        [("WARNING", "a certificate is about to expire")],
        [("ERROR", "a certificate has expired")],
    ]


def test_a_renewed_certificate_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    own = authority.pair("node", days=5)
    watch = ExpiryWatch(TLSSettings(certificate_file=own.certificate, private_key_file=own.key, expiry_warning_days=14))
    watch.look()
    assert caplog.messages == ["a certificate is about to expire"]
    caplog.clear()
    authority.pair("node", days=90)
    watch.look()
    assert caplog.messages == []


def test_without_tls_there_is_nothing_to_look_at() -> None:
    assert ExpiryWatch(TLSSettings()).look() > 0


def test_a_wrong_password_does_not_ask_at_the_terminal(tmp_path: Path) -> None:
    own = Authority(tmp_path).pair("node", password="geheim-0123")
    for password in ("", "wrong"):
        settings = TLSSettings(
            certificate_file=own.certificate, private_key_file=own.key, private_key_password=password
        )
        with pytest.raises(BadTLSFile, match=r"node\.key"):
            Credentials(settings)


def test_a_key_and_its_password_are_exchanged_together(tmp_path: Path) -> None:
    authority, word = Authority(tmp_path), tmp_path / "password"
    word.write_text("geheim-0123")
    own = authority.pair("node", password="geheim-0123")
    settings = TLSSettings(certificate_file=own.certificate, private_key_file=own.key, private_key_password_file=word)
    used = Credentials(settings)
    before = used.server()
    assert used.server() is before
    authority.pair("node", password="another-4567")
    assert used.server() is before
    word.write_text("another-4567")
    assert used.server() is not before
    word.unlink()
    with pytest.raises(BadTLSFile, match="password"):
        Credentials(settings)


# --- files that change


def test_a_change_is_taken_once_and_a_bad_one_leaves_the_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path, made = tmp_path / "f", []

    def make() -> int:
        made.append(path.read_text())
        return int(made[-1])

    path.write_text("1")
    watched = Watched([path], make)
    assert [watched.get(), watched.get()] == [1, 1]
    assert made == ["1"]
    path.write_text("22")
    assert [watched.get(), watched.get()] == [22, 22]
    path.write_text("garbage")
    assert [watched.get(), watched.get()] == [22, 22]
    assert made == ["1", "22", "garbage"]
    path.unlink()
    assert watched.get() == 22
    # Exchanged by a rename, with the size and the time of the old: what is there is another file.
    path.write_text("33")
    assert watched.get() == 33
    stat = path.stat()
    (tmp_path / "g").write_text("44")
    os.utime(tmp_path / "g", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "g").rename(path)
    assert watched.get() == 44
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "ERROR", "INFO", "INFO"]


def test_files_that_cannot_be_used_at_first_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="f"):
        Watched([tmp_path / "f"], (tmp_path / "f").read_text)


# --- commands


def test_the_passcode_command_makes_a_hash_that_the_settings_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    from config.node import User

    monkeypatch.setattr("sys.stdin", io.StringIO("mật khẩu dài\n"))
    assert passcode.main(["--stdin"]) == 0
    hashed = capsys.readouterr().out.strip()
    assert User(name="a", passcode_hash=hashed).passcode_hash == hashed
    assert Proved().right("a", hashed, "mật khẩu dài".encode())
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert passcode.main(["--stdin"]) == 2
    answers = iter(["mật khẩu dài", "mật khẩu khác"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    assert passcode.main([]) == 2
    assert "not the same" in capsys.readouterr().err


def test_the_certificates_command_shows_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    own, old = authority.pair("node", days=300), authority.pair("old", days=-2)
    for name in [name for name in os.environ if name.startswith("PACS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACS_NODE__TLS__CERTIFICATE_FILE", str(own.certificate))
    monkeypatch.setenv("PACS_NODE__TLS__PRIVATE_KEY_FILE", str(own.key))
    assert certificates.main([]) == 0
    shown = capsys.readouterr().out
    assert own.fingerprint in shown and "299 days left" in shown
    assert certificates.main([str(own.certificate), str(old.certificate)]) == 1
    assert "EXPIRED" in capsys.readouterr().out
    monkeypatch.setenv("PACS_NODE__TLS__PRIVATE_KEY_FILE", str(old.key))
    assert certificates.main([]) == 1
    assert "key values mismatch" in capsys.readouterr().err
