"""What is there when a process begins to serve is left out of later collections."""

from __future__ import annotations

import gc

from config.garbage import settle


def test_what_is_there_is_not_looked_through_again() -> None:
    kept = [[] for _ in range(1000)]  # type: list[list[object]]
    settle()
    try:
        assert gc.get_freeze_count() > len(kept)
        assert not any(each is kept for each in gc.get_objects())
    finally:
        gc.unfreeze()


def test_garbage_that_comes_later_is_still_found() -> None:
    settle()
    try:
        ring: list[object] = []
        ring.append(ring)
        del ring
        assert gc.collect() > 0
    finally:
        gc.unfreeze()
