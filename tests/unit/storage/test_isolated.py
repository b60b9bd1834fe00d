"""What the tests of the filesystem store read from a trace."""

from __future__ import annotations

from pathlib import Path

from tests.unit.storage import isolated


def test_a_call_that_another_thread_interrupts_in_the_trace_is_one_call(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(
        """7 write(2</dev/null>, "commit", 6 <unfinished ...>
8 write(3</a>, "x", 1 <unfinished ...>
7 <... write resumed>) = 6
7 openat(AT_FDCWD</>, "/objects/a", O_RDONLY <unfinished ...>
8 <... write resumed>) = 1
7 <... openat resumed>) = 5</objects/a>
8 fsync(3</a>) = 0
7 fsync(5</objects/a>) = 0
7 write(2</dev/null>, "done", 4) = 4
8 +++ exited with 0 +++
"""
    )
    assert isolated.steps_of_commit(trace) == [
        'openat(AT_FDCWD</>, "/objects/a", O_RDONLY) = 5</objects/a>',
        "fsync(5</objects/a>) = 0",
    ]
