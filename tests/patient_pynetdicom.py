"""Has pynetdicom wait, before it sends a request, until it is done with the one before.

Its reader of unexpected messages wakes up for a moment after each response. A response to the next request that comes
within that moment is taken for one of those, and dropped: about once in a thousand requests to this node, which answers
within the moment. Real devices do not lose responses, so the tests must not either.

And the reader is asked here to pause, until it says so: pynetdicom asks once, and waits for ever if the reader looked a
moment before it was asked and says that it goes on, while it waits to be told to.

Its socket is closed also when the peer was gone first: pynetdicom leaves it to the garbage collector then, whose warning
would fail whatever test runs at that moment.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

_REQUESTS = (
    *("send_c_echo", "send_c_store", "send_c_find", "send_c_get", "send_c_move"),
    *("send_n_action", "send_n_create", "send_n_delete", "send_n_event_report", "send_n_get", "send_n_set"),
)
_PATIENCE = 60.0
_LOOKS = 100
"""After which the reader is let go on, and asked again."""


def _ready(association: Association) -> None:
    while association._is_paused and association.is_established and association.is_alive():
        time.sleep(0.0005)


def _pause(association: Association) -> None:
    if association is threading.current_thread():
        return  # a handler of the association itself
    end = time.monotonic() + _PATIENCE
    while association.is_established and association.is_alive():
        association._reactor_checkpoint.clear()
        for _ in range(_LOOKS):
            if association._is_paused:
                return
            time.sleep(0.0005)
        association._reactor_checkpoint.set()
        time.sleep(0.0005)
        assert time.monotonic() < end, "pynetdicom's reader does not pause"


def _patient(request: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(request)
    def send(association: Association, *arguments: Any, **named: Any) -> Any:
        # A handler of the association itself asks from the reader's own thread, which is not paused then.
        _ready(association)
        _pause(association)
        return request(association, *arguments, **named)

    return send


def _closed(shut_down: Callable[[AssociationSocket], None]) -> Callable[[AssociationSocket], None]:
    @functools.wraps(shut_down)
    def close(held: AssociationSocket) -> None:
        sock = held.socket
        shut_down(held)
        if sock is not None:
            sock.close()

    return close


def install() -> None:
    """Once for each process."""
    AssociationSocket._shutdown_socket = _closed(AssociationSocket._shutdown_socket)  # type: ignore[method-assign]
    for name in _REQUESTS:
        setattr(Association, name, _patient(getattr(Association, name)))
