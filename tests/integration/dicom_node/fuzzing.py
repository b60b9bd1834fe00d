"""What fuzz tests share: mutations, honest peers beside, and the proof that nothing was harmed or leaked."""

from __future__ import annotations

import logging
import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.integration.dicom_node.load import Member
from tests.integration.dicom_node.peer import item, pdv
from tests.integration.dicom_node.running import Node, live_threads, open_files, wait_until

MEGABYTE = 1 << 20
INTERESTING = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"]
TEXTS = [
    "",
    "*",
    "?",
    "\\",
    "*\\*",
    "1.2.*",
    "Nguyễn^Văn Đức",
    "=" * 40,
    "A" * 70,
    "20261301",
    "-",
    "20260101-",
    "\0\0",
]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to four changes of a kind that parsers trip over."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            value = rng.choice(INTERESTING)
            changed[at : at + len(value)] = value
        elif kind == 2:
            del changed[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            changed[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randrange(1, 200)]
        elif kind == 5:
            del changed[at:]
        elif len(changed) >= 4:
            at = rng.randrange(len(changed) - 3)
            (number,) = struct.unpack_from(">I", changed, at)
            struct.pack_into(">I", changed, at, (number + rng.choice([-1, 1, 2, -6, 6, 256])) & 0xFFFFFFFF)
    return bytes(changed)


def perhaps(rng: random.Random, data: bytes, share: float = 0.5) -> bytes:
    """Mutated, or as it is."""
    return mutate(rng, data) if rng.random() < share else data


def fragments(rng: random.Random, context: int, control: int, data: bytes) -> bytes:
    """Data as PDUs, cut anywhere; `control` is that of a command or of a dataset."""
    size = rng.choice([1, 3, 16, 100, 65536]) if len(data) < 2000 else 65536
    pieces = [data[at : at + size] for at in range(0, max(len(data), 1), size)]
    values = [pdv(context, control | (2 if n == len(pieces) - 1 else 0), piece) for n, piece in enumerate(pieces)]
    pdus = b""
    while values:
        some = rng.randrange(1, 4)
        body = b"".join(values[:some])
        pdus += struct.pack(">BxI", 4, len(body)) + body
        del values[:some]
    return pdus


def user_item(rng: random.Random, sop_class: str) -> bytes:
    """An item of the user information: one that is known with odd content, or one that is not (PS3.7 Annex D.3.3)."""
    name = struct.pack(">H", len(sop_class)) + sop_class.encode()
    odd = rng.randbytes(rng.choice([0, 1, 2, 5, 300]))
    return rng.choice(
        [
            item(0x51, rng.randbytes(4)),
            item(0x52, b"1.2.3." + odd),
            item(0x53, struct.pack(">HH", rng.randrange(65536), rng.randrange(65536))),
            item(0x54, name + rng.randbytes(2)),
            item(0x55, odd),
            item(0x56, name + odd),
            item(0x57, name + name + odd),
            item(0x58, struct.pack(">BBH", rng.randrange(7), rng.randrange(3), len(odd)) + odd + b"\0\0"),
            item(0x59, odd),
            item(rng.randrange(256), odd),
        ]
    )


class Honest:
    """Echoes, stores, finds and gets on one association for as long as the others misbehave."""

    def __init__(self, node: Node, which: int) -> None:
        self.stop = threading.Event()
        self.turns = 0
        self.member = Member(node.port, which)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.stop.is_set() and not self.member.wrong:
                self.member.turn()
                self.turns += 1
                self.stop.wait(0.02)
            self.member.peer.release()
        except BaseException as error:
            self.member.wrong.append(repr(error))

    def finish(self) -> int:
        """End; give the number of turns. Fails if any answer was wrong."""
        self.stop.set()
        self.thread.join()
        assert not self.member.wrong, self.member.wrong
        return self.turns


class Errors(logging.Handler):
    """Keeps what the node logs as errors: faults of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


@contextmanager
def unharmed(node: Node, what: str, beside: int = 2, growth: int = 150 * MEGABYTE) -> Iterator[None]:
    """Honest peers are served right beside what is done here; nothing leaks, memory is bounded, nothing is our fault."""
    for which in range(100, 103):
        # Whatever is opened once and kept is opened now.
        Honest(node, which).finish()
    node.wait_until_idle()
    threads, files = live_threads(), open_files()
    process = psutil.Process()
    before = process.memory_info().rss
    errors = Errors()
    logging.getLogger("dicom_node").addHandler(errors)
    started = time.monotonic()
    honest = [Honest(node, which) for which in range(beside)]
    try:
        yield
    finally:
        turns = [each.finish() for each in honest]
        logging.getLogger("dicom_node").removeHandler(errors)
    took = time.monotonic() - started
    node.wait_until_idle()
    wait_until(lambda: live_threads() <= threads, "threads are back", 60)
    # The pool of the index may have grown to its size.
    most = files + node.settings.database.pool_size
    wait_until(lambda: open_files() <= most, "file descriptors are back")
    grown = process.memory_info().rss - before
    print(f"\n{what}: {took:.0f} s, {sum(turns) * 4} honest operations beside, {grown / MEGABYTE:.1f} MB more memory")
    assert errors.found == []
    assert grown < growth
    assert node.leftovers() == []
