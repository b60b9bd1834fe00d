"""Pages that pieces of answers were read into are used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource
from viewer_api.allocation import keep_pages

def pieces():
    for _ in range(20):
        held = [b"".join((b"x" * 700_000, b"y" * 700_000)) for _ in range(4)]
        del held

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep_pages()
pieces()
before = faults()
pieces()
print(faults() - before)
"""
_PAGES = 20 * 4 * 1_400_000 // 4096


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_pages_are_not_made_anew_for_each_piece() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)
    assert int(done.stdout) < _PAGES / 10
