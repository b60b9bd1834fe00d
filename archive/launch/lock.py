"""One launcher per data folder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from archive.launch.messages import Spoken, step

ORPHAN_SECONDS = 60
"""What services of a killed launcher get to finish; longer than their own grace."""


class AlreadyRunning(Spoken):
    """Another launcher has this data folder."""


class RunLock:
    """An exclusive lock on a data folder, shared with the services through an inherited file descriptor.

    The kernel gives it up when the last of them ends, so it can neither be left behind by a crash nor be taken
    while services of a killed launcher still finish their transfers.
    """

    def __init__(self, data_dir: Path, patience: float = ORPHAN_SECONDS) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(data_dir / "launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._acquire(data_dir, patience)
        except BaseException:
            os.close(self.fd)
            raise
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, str(os.getpid()).encode(), 0)

    def _acquire(self, data_dir: Path, patience: float) -> None:
        deadline = time.monotonic() + patience
        told = False
        while not self._try():
            holder = os.pread(self.fd, 20, 0).decode("ascii", "replace")
            if _is_alive(holder) or time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"hệ thống đang chạy với dữ liệu {data_dir} (tiến trình {holder})",
                    f"already running on {data_dir} (process {holder})",
                )
            if not told:
                told = True
                step("Chờ lần chạy trước kết thúc", "Waiting for the services of the last run to end")
            time.sleep(0.1)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        os.close(self.fd)


def _is_alive(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()
