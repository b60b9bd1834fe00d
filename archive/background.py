"""Work that a serving process does beside answering: a thread that repeats one step until it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from archive.errors import Unavailable
from config.logs import fields

log = logging.getLogger(__name__)

PAUSE_AFTER_FAILURE = 10.0
"""Seconds until a step that failed is tried again."""


class Background:
    """A thread that lives as long as the ``with`` block and calls `step` again and again.

    `step` gives the seconds until it is due again; `wake` makes it due at once. What it raises is logged.
    """

    def __init__(self, name: str, step: Callable[[], float], pause_after_failure: float = PAUSE_AFTER_FAILURE) -> None:
        self._name = name
        self._step = step
        self._pause = pause_after_failure
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopping(self) -> bool:
        """A long step looks at this between its parts."""
        return self._stopping

    def wake(self) -> None:
        """Have the next step begin now."""
        self._wake.set()

    def pause(self, seconds: float) -> None:
        """A step rests so long between its parts, or until it is to end."""
        self._wake.wait(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            pause = self._once()
            self._wake.wait(pause)
            self._wake.clear()

    def _once(self) -> float:
        try:
            return self._step()
        except Unavailable as error:
            log.warning("work in the background is put off", extra=fields(work=self._name, error=str(error)))
        except Exception:
            log.exception("work in the background failed", extra=fields(work=self._name))
        return self._pause


class Backgrounds:
    """Several of them, which end at the same time: each may wait for an answer. `close` is called when all have."""

    def __init__(self, threads: Sequence[Background], close: Callable[[], object] = lambda: None) -> None:
        self._threads = threads
        self._close = close

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        ending = [threading.Thread(target=partial(thread.__exit__, None, None, None)) for thread in self._threads]
        for each in ending:
            each.start()
        for each in ending:
            each.join()
        self._close()
