"""What the collector of cyclic garbage is to leave alone."""

from __future__ import annotations

import gc


def settle() -> None:
    """Keep what there is by now, half a million objects of modules and tables, out of all later collections.

    It stays as long as the process does. To look through it takes the interpreter a sixth of a second, in the middle
    of an answer, in which no other answer goes on either; and while a request brings many parts it does so again and
    again (a third of the time of a service that stored eight requests at once).
    """
    gc.collect()
    gc.freeze()
