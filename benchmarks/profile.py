"""``python -m benchmarks profile NAME ...``: a benchmark, with a flame graph (SVG) of each of our processes.

For ``receive``, ``stow`` and ``retrieve`` ours alone, unless ``--servers`` says other. Needs py-spy, of the extra
``bench``. The figures of such a run do not count: they are written to ``build/benchmarks/profile/`` with the graphs.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.results import TARGET

GRAPHS: Final = "BENCH_PROFILE"
"""Environment variable: where graphs go, as the beginning of their names."""
_ALONE: Final = ("receive", "stow", "retrieve")
_RATE: Final = 200
_number = itertools.count(1)


def main(arguments: list[str]) -> int:
    """The exit code of the benchmark."""
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments else 2
    _recorder()
    name = arguments[0]
    if name in _ALONE and "--servers" not in arguments:
        arguments = [*arguments, "--servers", "ours"]
    folder = TARGET / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, GRAPHS: str(folder / name), "BENCH_TARGET": str(folder)}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    code = subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, check=False).returncode
    print(*(f"flame graph: {path}" for path in sorted(folder.glob(f"{name}-*.svg"))), sep="\n")
    return code


@contextmanager
def profiled(name: str, process: int) -> Iterator[None]:
    """Record a process and what it starts while the context lasts, if the environment asks for it."""
    place = os.environ.get(GRAPHS)
    if not place:
        yield
        return
    target = f"{place}-{name}-{next(_number)}.svg"
    options = ["--pid", str(process), "--subprocesses", "--nonblocking", "--rate", str(_RATE), "--output", target]
    recorder = subprocess.Popen([_recorder(), "record", *options], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        recorder.send_signal(signal.SIGINT)  # it writes the graph
        recorder.wait(120)


def _recorder() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise SystemExit("py-spy is not installed: pip install -c constraints.txt py-spy (the extra 'bench')")
    return found
