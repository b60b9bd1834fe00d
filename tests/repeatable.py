"""What tests draw by chance is the same in each run: a test that fails by chance fails always, and can be mended.

pydicom's `generate_uid` gives UIDs of other digits, and at times of another length, in each run. Two tests passed for
weeks until the digits were those that they did not bear. Each test has draws of its own here, told by its name, so they
do not depend on which tests run before it. ``PACS_TEST_SEED=7 make test`` gives all tests other draws.
"""

from __future__ import annotations

import os
import random
import uuid
from typing import Final

import pydicom.uid


class Draws:
    """In place of the modules `secrets` and `uuid` in `pydicom.uid`."""

    def __init__(self) -> None:
        self._random = random.Random()
        self.start("")
        # A forked child would draw what its parent draws.
        os.register_at_fork(after_in_child=lambda: self.start(f"{os.getpid()} {random.SystemRandom().random()}"))

    def start(self, name: str) -> None:
        """Begin the draws of the test of this name."""
        self._random.seed(f"{os.environ.get('PACS_TEST_SEED', '0')} {name}")

    def randbelow(self, maximum: int) -> int:
        """As `secrets.randbelow`."""
        return self._random.randrange(maximum)

    def uuid4(self) -> uuid.UUID:
        """As `uuid.uuid4`."""
        return uuid.UUID(int=self._random.getrandbits(128), version=4)


draws: Final = Draws()


def install() -> None:
    """Let pydicom draw from `draws`."""
    pydicom.uid.secrets = draws  # type: ignore[attr-defined]
    pydicom.uid.uuid = draws  # type: ignore[attr-defined]
