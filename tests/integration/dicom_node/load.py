"""``python -m tests.integration.dicom_node.load PORT NUMBER``: many associations at once, each served in turns.

All are opened, and stay open. A line ``run SECONDS`` on standard input has each of them do C-ECHO, C-STORE, C-FIND and
C-GET, one after the other, at least once and for so long; ``end`` has them released. Each line is answered by one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    COMMAND,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    LAST,
    VERIFICATION,
    RawPeer,
    elements_of,
    message,
    p_data,
    pdv,
    query_rq,
    role_item,
    store_rsp,
)

STUDY_ROOT_FIND, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
CONTEXTS = [
    (CT_IMAGE_STORAGE, [EXPLICIT]),
    (VERIFICATION, [IMPLICIT]),
    (STUDY_ROOT_FIND, [EXPLICIT]),
    (STUDY_ROOT_GET, [EXPLICIT]),
]
ROLES = role_item(CT_IMAGE_STORAGE, 1, 1)
FIND, GET = 5, 7
PENDING = 0xFF00
PATIENT_HAS = 100
"""Studies of one patient; the next one is for another."""


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def find(peer: RawPeer, *keys: tuple[int, int, str, str]) -> tuple[list[bytes], int]:
    """C-FIND: the identifiers of the matches, and the final status."""
    peer.send(message(FIND, query_rq(STUDY_ROOT_FIND, 0x20), elements_of(*keys)))
    found = []
    while True:
        _, command, data = peer.message()
        status = number(command[0x900])
        if status & 0xFFFE != PENDING:
            return found, status
        found.append(data)


def get(peer: RawPeer, *keys: tuple[int, int, str, str]) -> tuple[list[bytes], int]:
    """C-GET: the datasets received, and the final status."""
    peer.send(message(GET, query_rq(STUDY_ROOT_GET, 0x10), elements_of(*keys)))
    got = []
    while True:
        context, command, data = peer.message()
        if number(command[0x100]) == 1:
            got.append(data)
            peer.send(p_data(pdv(context, COMMAND | LAST, store_rsp(command))))
        elif number(command[0x900]) != PENDING:
            return got, number(command[0x900])


class Member:
    """One association and what it has stored."""

    def __init__(self, port: int, which: int) -> None:
        self.peer = RawPeer(port, timeout=120).associate(CONTEXTS, items=ROLES)
        self.which = which
        self.patient = f"LOAD{which:04}"
        self.patients = 0
        self.studies: list[str] = []
        self.wrong: list[str] = []
        self.seconds: dict[str, list[float]] = {"C-ECHO": [], "C-STORE": [], "C-FIND": [], "C-GET": []}
        self._data = b""

    def turn(self) -> None:
        """Each operation once; what is answered must be right."""
        if len(self.studies) == PATIENT_HAS:
            # Or a query for all of them would meet the limit of what one query gives.
            self.patients += 1
            self.patient = f"LOAD{self.which:04}-{self.patients}"
            self.studies = []
        for name, operation in (
            ("C-ECHO", self._echo),
            ("C-STORE", self._store),
            ("C-FIND", self._find),
            ("C-GET", self._get),
        ):
            started = time.monotonic()
            if not operation():
                self.wrong.append(f"{self.patient} {name}")
            self.seconds[name].append(time.monotonic() - started)

    def _echo(self) -> bool:
        return self.peer.echo() == 0

    def _store(self) -> bool:
        image = ct_image(rows=128, columns=128, seed=len(self.studies), PatientID=self.patient)
        self._data = encode(image)
        self.studies.append(image.StudyInstanceUID)
        return self.peer.store(image.SOPInstanceUID, self._data) == 0

    def _find(self) -> bool:
        keys = ((8, 0x52, "CS", "STUDY"), (0x10, 0x20, "LO", self.patient), (0x20, 0xD, "UI", ""))
        found, status = find(self.peer, *keys)
        answers = b"".join(found)
        return (
            status == 0 and len(found) == len(self.studies) and all(each.encode() in answers for each in self.studies)
        )

    def _get(self) -> bool:
        keys = ((8, 0x52, "CS", "STUDY"), (0x20, 0xD, "UI", self.studies[-1]))
        return get(self.peer, *keys) == ([self._data], 0)

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.turn()
                if self.wrong or time.monotonic() >= deadline:
                    return
        except Exception as error:
            self.wrong.append(f"{self.patient} {error!r}")


def together(members: list[Member], work: Callable[[Member], None]) -> None:
    threads = [threading.Thread(target=work, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def figures(members: list[Member]) -> dict[str, object]:
    """Operations done, how long they took in milliseconds, and what was wrong."""
    counts: Counter[str] = Counter()
    latency = {}
    for name in members[0].seconds:
        taken = sorted(each for member in members for each in member.seconds[name])
        counts[name] = len(taken)
        latency[name] = [round(1000 * taken[int(share * (len(taken) - 1))]) for share in (0.5, 0.99, 1)]
    return {
        "operations": counts,
        "milliseconds (half, 99 %, all) within": latency,
        "wrong": [wrong for member in members for wrong in member.wrong],
    }


def main() -> None:
    port, size = int(sys.argv[1]), int(sys.argv[2])
    members = [Member(port, which) for which in range(size)]
    print(json.dumps({"open": len(members)}), flush=True)
    for line in sys.stdin:
        if line.startswith("run "):
            together(members, lambda member: member.run(float(line.split()[1])))  # noqa: B023  joined before the next
            print(json.dumps(figures(members)), flush=True)
        else:
            for member in members:
                member.peer.release()
            print(json.dumps({"released": len(members)}), flush=True)
            return


if __name__ == "__main__":
    main()
