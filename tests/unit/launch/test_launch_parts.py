"""The parts of the launcher, each by itself."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import psutil
import pytest

from archive.demo import SETTINGS as DEMO
from archive.launch import messages, ports
from archive.launch.__main__ import chosen_settings, main
from archive.launch.child import Child, for_terminal
from archive.launch.lock import AlreadyRunning, RunLock
from archive.launch.logfile import RotatingFile
from config.settings import load


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without settings, and an environment without any."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PACS_")]:
        monkeypatch.delenv(name)
    return tmp_path


# --- settings


def test_without_a_settings_file_the_demo_is_chosen(elsewhere: Path) -> None:
    settings, demo = chosen_settings()
    assert demo == DEMO
    assert settings.unknown_peers == "accept"


def test_a_settings_file_means_no_demo(elsewhere: Path) -> None:
    (elsewhere / "pacs.toml").write_text("")
    settings, demo = chosen_settings()
    assert demo is None
    assert settings.unknown_peers == "reject"


def test_a_named_settings_file_means_no_demo(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_CONFIG", str(DEMO))
    assert chosen_settings()[1] is None


def test_bad_settings_end_with_2_and_a_sentence(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "pacs.toml").write_text("[node]\nprot = 104\n")
    assert main() == 2
    assert "node.prot: no such setting" in capsys.readouterr().err


# --- ports


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ports.PortUnusable, match=rf"port {port} is taken.*node\.port.*PACS_NODE__PORT"):
            ports.require_free("127.0.0.1", port, "node")
        assert ports.accepts("127.0.0.1", port)
        with pytest.raises(ports.PortUnusable, match=r"PACS_NODE__TLS__PORT"):
            ports.require_free("127.0.0.1", port, "node.tls")
    ports.require_free("127.0.0.1", port, "node")
    assert not ports.accepts("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_named_with_its_setting() -> None:
    with pytest.raises(ports.PortUnusable, match=r"192\.0\.2\.1:8080 .*check web\.host"):
        ports.require_free("192.0.2.1", 8080, "web")


def test_a_port_must_be_named() -> None:
    with pytest.raises(ports.PortUnusable, match=r"web\.port = 0"):
        ports.require_free("127.0.0.1", 0, "web")


def test_what_does_not_speak_http_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(10)
        port = mute.getsockname()[1]
        probe = subprocess.Popen(
            [sys.executable, "-c", f"from archive.launch.ports import is_ready; print(is_ready('127.0.0.1', {port}))"],
            stdout=subprocess.PIPE,
        )
        connection, _ = mute.accept()
        connection.close()
        assert probe.communicate()[0] == b"False\n"


# --- one launcher per folder


def test_a_second_launcher_is_told_who_runs(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "data")
    with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}"):
        RunLock(tmp_path / "data")
    lock.release()
    RunLock(tmp_path / "data").release()


def test_services_of_a_killed_launcher_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service inherited the lock; its launcher is gone. The next launcher waits until it has ended."""
    lock = RunLock(tmp_path)
    service = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read(1)"], stdin=subprocess.PIPE, pass_fds=(lock.fd,)
    )
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    os.pwrite(lock.fd, f"{gone.pid:<20}".encode(), 0)
    lock.release()
    with pytest.raises(AlreadyRunning):
        RunLock(tmp_path, patience=0)
    # Not by what is captured: a line that is written while others are being read is lost.
    said: Queue[str] = Queue()
    monkeypatch.setattr("archive.launch.lock.step", lambda _, english: said.put(english))
    following = threading.Thread(target=lambda: RunLock(tmp_path).release())
    following.start()
    assert "Waiting for the services of the last run" in said.get(timeout=60)
    assert service.stdin is not None
    service.stdin.close()
    following.join()
    assert service.wait() == 0


def test_a_log_file_never_grows_past_its_limit(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "logs" / "x.log", limit=100, kept=2)
    for number in range(40):
        log.write(f"line {number:02d} ........\n")
    log.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["x.log", "x.log.1", "x.log.2"]
    assert all(file.stat().st_size <= 100 for file in files)
    newest_first = "".join(file.read_text() for file in reversed(files))
    assert newest_first.splitlines()[-1].startswith("line 39")
    assert newest_first.count("\n") == len(newest_first.splitlines())


def test_a_log_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    for text in ("first\n", "second\n"):
        log = RotatingFile(tmp_path / "x.log")
        log.write(text)
        log.close()
    assert (tmp_path / "x.log").read_text() == "first\nsecond\n"


@pytest.mark.parametrize("level", ["WARNING", "ERROR", "CRITICAL"])
def test_warnings_and_errors_reach_the_terminal_with_their_facts(level: str) -> None:
    line = json.dumps(
        {"time": "2026-11-22T06:43:06.123Z", "level": level, "logger": "x", "message": "disk full", "free": 12}
    )
    assert for_terminal(line) == f"06:43:06 {level} disk full free=12"


@pytest.mark.parametrize("line", ['{"level": "INFO", "message": "x"}', "Traceback (most recent call last):", "[1]", ""])
def test_other_lines_stay_in_the_file(line: str) -> None:
    assert for_terminal(line) == ""


# --- children


@pytest.fixture
def module(tmp_path: Path):
    """Makes a Child of a module with this source; ends it afterwards."""
    ended: queue.SimpleQueue[Child] = queue.SimpleQueue()
    made: list[Child] = []

    def make(source: str) -> tuple[Child, queue.SimpleQueue[Child]]:
        (tmp_path / "service.py").write_text(source)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        child = Child("service", environment, tmp_path / "logs", ended.put)
        made.append(child)
        child.follow()
        return child, ended

    yield make
    for child in made:
        child.kill()
        child.wait(120)


def test_a_child_that_ends_is_noticed_with_its_last_words(module, tmp_path: Path) -> None:
    child, ended = module("import sys\nprint('one')\nsys.exit('bad luck')")
    assert ended.get(timeout=120) is child
    assert child.exit_code == 1
    assert child.last_lines() == "one\nbad luck"
    assert (tmp_path / "logs" / "service.log").read_text() == "one\nbad luck\n"


def test_only_the_last_lines_are_shown(module) -> None:
    child, ended = module("for n in range(100): print(n)")
    ended.get(timeout=120)
    assert child.last_lines().splitlines() == [str(n) for n in range(85, 100)]


def test_a_child_is_asked_first_and_killed_last(module, tmp_path: Path) -> None:
    """A child that ignores the question answers it with a file, so that it is killed only after it has been asked."""
    ready, asked = tmp_path / "ready", tmp_path / "asked"
    child, _ = module(
        "import pathlib, signal, threading\n"
        "def refuse(*_):\n"
        "    print('asked', flush=True)\n"
        f"    pathlib.Path({str(asked)!r}).touch()\n"
        "signal.signal(signal.SIGTERM, refuse)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "threading.Event().wait()"
    )
    while not ready.exists():
        assert child.is_running
    child.terminate()
    while not asked.exists():
        assert child.is_running
    assert not child.wait(0)
    child.kill()
    assert child.wait(120)
    assert child.exit_code == -signal.SIGKILL
    assert child.last_lines() == "asked"


def test_a_child_does_not_outlive_a_killed_launcher(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("import threading; threading.Event().wait()")
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, pathlib, threading\nfrom archive.launch.child import Child\n"
            f"child = Child('service', os.environ, pathlib.Path({str(tmp_path)!r}), print)\n"
            "child.follow()\nprint(child.pid, flush=True)\nthreading.Event().wait()",
        ],
        env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"},
        stdout=subprocess.PIPE,
    )
    assert launcher.stdout is not None
    with launcher.stdout:
        service = psutil.Process(int(launcher.stdout.readline()))
        launcher.kill()
        launcher.wait()
        psutil.wait_procs([service], timeout=120)
    assert not service.is_running()


# --- what is said


def test_the_summary_says_where_to_send_and_where_to_look(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages.ready(load(DEMO, environ={}), demo=True, viewer=True)
    said = capsys.readouterr().out
    vietnamese, english = said.split(" The imaging archive is ready")
    for half in (vietnamese, english):
        assert "http://127.0.0.1:8080/" in half
        assert "storescu -aec PACS 127.0.0.1 11112" in half
        assert str(elsewhere / "var") in half
        assert "Ctrl-C" in half
    assert "any AE title on this machine" in english


def test_the_ports_with_tls_are_said(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tls = {"certificate_file": "a", "private_key_file": "b"}
    messages.ready(load(environ={}, node={"tls": tls}), demo=False, viewer=True)
    assert "port 11112, 2762 (TLS), AE title" in capsys.readouterr().out
    messages.ready(load(environ={}, node={"tls": tls, "plain": False}), demo=False, viewer=True)
    said = capsys.readouterr().out
    assert "port 2762 (TLS), AE title" in said
    assert "storescu +tla -ic -aec PACS 127.0.0.1 2762 file.dcm" in said


def test_a_missing_viewer_is_said(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages.ready(load(environ={}), demo=False, viewer=False)
    said = capsys.readouterr().out
    assert "the viewer is not installed" in said
    assert "demo mode" not in said


def test_an_address_for_all_is_shown_as_one_that_can_be_called() -> None:
    assert [messages.reachable(host) for host in ("0.0.0.0", "::", "10.1.2.3")] == ["127.0.0.1", "[::1]", "10.1.2.3"]


def test_progress_is_told_four_times_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    for done in range(1, 160):
        messages.progress(done, 159)
    assert capsys.readouterr().out.split() == ["40/159", "80/159", "120/159", "159/159"]


def test_a_closed_terminal_does_not_stop_the_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        messages.say("x")
        monkeypatch.undo()
        with pytest.raises(OSError):
            full.close()
