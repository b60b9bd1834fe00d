"""Starts the parts in order, watches them, and stops them in the reverse order."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO, cast

from archive.core import Archive, migrate
from archive.demo import accounts as demo_accounts
from archive.demo import load as demo
from archive.demo import past, past_load
from archive.demo import reports as demo_reports
from archive.demo.datasets import MissingTestFile
from archive.embedded import EmbeddedPostgres
from archive.errors import ArchiveError
from archive.launch import messages, ports
from archive.launch.child import Child
from archive.launch.lock import RunLock
from archive.launch.logfile import RotatingFile
from archive.launch.messages import Spoken, step, warn
from archive.registry.live import peers_now
from config import logs
from config.hl7 import HL7Settings
from config.node import NodeSettings
from config.settings import Settings
from storage.errors import StorageError
from storage.factory import ensure_local_key

HEALTH_AE_TITLE = "PACSCHECK"
"""Calling AE title of `dicom_node.echo`, unless another is given."""
READY_SECONDS = 60
STOP_SECONDS = 40
"""More than the services' own grace for running transfers."""
_POLL_SECONDS = 0.05


class LaunchError(Spoken):
    """A part does not start, or ended by itself."""


class _Stop(BaseException):
    """Somebody asked to stop. Not an `Exception`: nothing may mistake it for a failure."""


class Supervisor:
    """All parts on one machine. `run` returns 0 when asked to stop and raises `LaunchError` on failure."""

    def __init__(self, settings: Settings, demo_file: Path | None) -> None:
        self._settings = settings
        self._demo_file = demo_file
        self._environment = dict(os.environ)
        self._children: list[Child] = []
        self._ended: queue.SimpleQueue[Child] = queue.SimpleQueue()
        self._viewer = True
        self._held_signal = False
        self._deferring = False
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        with ExitStack() as stack:
            try:
                self._start(stack)
                self._watch()
            except _Stop:
                self._stopping = True
                step("Đang dừng", "Stopping")
            except (ArchiveError, StorageError, OSError, subprocess.SubprocessError) as error:
                self._stopping = True
                raise LaunchError(f"không khởi động được: {error}", f"cannot start: {error}") from error
            except BaseException:
                self._stopping = True
                raise
        step("Đã dừng, dữ liệu được giữ nguyên", "Stopped; the data stays")
        return 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._stopping:  # asked twice: no more patience
            for child in self._children:
                child.kill()
        elif self._deferring:
            self._held_signal = True
        else:
            self._stopping = True
            raise _Stop

    @contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """Hold a request to stop until the block is done: what it starts must be known before it can be stopped."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._held_signal:
            self._stopping = True
            raise _Stop

    def _start(self, stack: ExitStack) -> None:
        settings = self._settings
        lock = RunLock(settings.data_dir)
        stack.callback(lock.release)
        services = (*_node_ports(settings.node), *_hl7_ports(settings.hl7))
        for section, host, port in (*services, ("web", settings.web.host, settings.web.port)):
            ports.require_free(host, port, section)
        key = ensure_local_key(settings)
        own_log = stack.enter_context(RotatingFile(messages.logs_dir(settings) / "launch.log"))
        logs.configure(settings.log, cast(TextIO, own_log))
        viewer = self._python("viewer_api.viewer_setup", stack=stack)
        self._start_database(stack)
        step("Kiểm tra cấu trúc cơ sở dữ liệu", "Bringing the database to this release")
        migrate(self._settings)
        self._viewer = viewer.wait() == 0
        if not self._viewer:
            warn("chưa cài được trình xem ảnh, chạy tiếp không có nó", "going on without the viewer")
        stack.callback(self._stop_children)
        step("Khởi động dịch vụ DICOM và web", "Starting the DICOM node and the web service")
        with self._uninterrupted():
            for module in ("dicom_node", "viewer_api", *["archive.hl7"] * settings.hl7.enabled):
                child = Child(
                    module,
                    self._child_environment(),
                    messages.logs_dir(settings),
                    self._ended.put,
                    keep_open=(lock.fd,),
                )
                self._children.append(child)
            for child in self._children:
                child.follow()
        self._wait_until_ready(stack)
        if self._demo_file is not None:
            self._load_demo()
        messages.ready(settings, demo=self._demo_file is not None, viewer=self._viewer, key=key)
        if self._demo_file is not None and past_load.is_wanted(self._settings.data_dir):
            messages.past_begins()
            self._python("archive.demo", "--past", stack=stack)

    def _start_database(self, stack: ExitStack) -> None:
        """Run the embedded PostgreSQL where the settings name no other, and put its address into the settings."""
        if self._settings.database.url.get_secret_value():
            return
        step("Khởi động cơ sở dữ liệu PostgreSQL", "Starting PostgreSQL")
        with self._uninterrupted():
            server = EmbeddedPostgres(self._settings.data_dir / "postgres")
            stack.callback(server.stop)
        self._environment["PACS_DATABASE__URL"] = server.url
        chosen = self._settings.database.model_copy(update={"url": type(self._settings.database.url)(server.url)})
        self._settings = self._settings.model_copy(update={"database": chosen})

    def _child_environment(self) -> dict[str, str]:
        environment = {**self._environment, "PACS_LOG__FORMAT": "json"}
        if self._demo_file is not None:
            environment["PACS_CONFIG"] = str(self._demo_file)
        return environment

    def _wait_until_ready(self, stack: ExitStack) -> None:
        node, web = self._settings.node, self._settings.web
        self._poll("dicom_node", lambda: all(ports.accepts(host, port) for _, host, port in _node_ports(node)))
        echo = self._echo(stack)
        hl7 = _hl7_ports(self._settings.hl7)
        self._poll("archive.hl7", lambda: all(ports.accepts(host, port) for _, host, port in hl7))
        self._poll("viewer_api", lambda: ports.is_ready(web.host, web.port))
        if echo is not None and echo.wait(READY_SECONDS) != 0:
            raise LaunchError("dịch vụ DICOM không trả lời C-ECHO", "the DICOM node does not answer a C-ECHO")

    def _echo(self, stack: ExitStack) -> subprocess.Popen[bytes] | None:
        """Start a C-ECHO under a name that the node admits from here, without TLS; None when it admits none."""
        node, book = self._settings.node, peers_now(self._settings)
        if not node.plain:
            return None  # a C-ECHO by TLS may need a certificate that is not ours to show
        host = messages.reachable(node.host).strip("[]")
        names = [HEALTH_AE_TITLE, *(peer.ae_title for peer in book.listed)]
        admitted = next((name for name in names if book.find(name, host)), None)
        if admitted is None:
            return None
        call = ("dicom_node.echo", host, str(node.port), "--called", node.ae_title, "--calling", admitted)
        return self._python(*call, stack=stack, stdout=subprocess.DEVNULL)

    def _python(self, *arguments: str, stack: ExitStack, stdout: int | None = None) -> subprocess.Popen[bytes]:
        """``python -m ...`` for a helper that ends by itself, and is ended with the launcher."""
        with self._uninterrupted():
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self._child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                start_new_session=True,
            )
            stack.callback(_end, process)
        return process

    def _poll(self, module: str, answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not answers():
            for child in self._children:
                if not child.is_running:
                    raise _died(child)
            if time.monotonic() > deadline:
                late = next(child for child in self._children if child.module == module)
                raise LaunchError(
                    f"{module} chưa sẵn sàng sau {READY_SECONDS} giây",
                    f"{module} is not ready after {READY_SECONDS} seconds",
                    late.last_lines(),
                )
            time.sleep(_POLL_SECONDS)

    def _load_demo(self) -> None:
        """Fill an empty archive. A mark tells the next run that this one was stopped half way."""
        mark = self._settings.data_dir / "demo.unfinished"
        archive = Archive.open(self._settings)
        try:
            if self._settings.access.sign_in == "required" and (made := demo_accounts.make(archive)):
                messages.accounts(made, self._settings.data_dir.resolve() / demo_accounts.FILE)
            if not mark.exists() and not demo.is_empty(archive):
                return
            mark.touch()
            step("Nạp dữ liệu mẫu", "Loading the demo province")
            demo.load(archive, messages.progress)
            demo_reports.write(archive)
            if count := _past_studies():
                past_load.begin(self._settings.data_dir, count)
            mark.unlink()
        except MissingTestFile as error:
            mark.unlink()
            warn(f"không có dữ liệu mẫu: {error}", f"no demo data: {error}")
        finally:
            archive.close()

    def _watch(self) -> None:
        """Sleep until a service ends by itself, which raises, or a signal comes."""
        raise _died(self._ended.get())

    def _stop_children(self) -> None:
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            if not child.wait(max(0.0, deadline - time.monotonic())):
                warn(f"{child.module} không dừng, buộc kết thúc", f"{child.module} does not stop and is killed")
                child.kill()
                child.wait(READY_SECONDS)


def _past_studies() -> int:
    """How many examinations of the past an empty demo archive gets beside its first ones, in the background."""
    given = os.environ.get("DEMO_STUDIES", "")
    return min(int(given), 5000) if given.isdecimal() else past.STUDIES


def _node_ports(node: NodeSettings) -> list[tuple[str, str, int]]:
    """Where the node listens, and the section of the settings that says so."""
    plain = [("node", node.host, node.port)] if node.plain else []
    return [*plain, *([("node.tls", node.host, node.tls.port)] if node.tls.listens else [])]


def _hl7_ports(hl7: HL7Settings) -> list[tuple[str, str, int]]:
    """The same for HL7."""
    if not hl7.enabled:
        return []
    plain = [("hl7", hl7.host, hl7.port)] if hl7.plain else []
    return [*plain, *([("hl7.tls", hl7.host, hl7.tls.port)] if hl7.tls.listens else [])]


def _died(child: Child) -> LaunchError:
    details = child.last_lines()
    return LaunchError(
        f"{child.module} tự kết thúc (mã {child.exit_code}); những dòng cuối của nhật ký:",
        f"{child.module} ended by itself (exit code {child.exit_code}); the end of its log:",
        details,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a helper and what it started: it leads a process group of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
