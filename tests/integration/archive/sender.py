"""A process that stores objects until it is done or killed, and prints a line for each receipt.

``python -m tests.integration.archive.sender URL FOLDER THREADS COUNT STUDY SERIES``. Every line is the outcome, the SOP
Instance UID and the SHA-256 of the dataset. It starts when it reads a line.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path

from pydicom.uid import generate_uid

from archive.core import Archive
from config.settings import load
from tests.factories import MODALITY, ct_image, encode, store_bytes


def main(url: str, folder: str, threads: str, count: str, study: str, series: str) -> None:
    settings = load(
        environ={},
        data_dir=Path(folder),
        database={"url": url, "pool_size": 4},
        storage={"minimum_free_bytes": 0},
        facilities=[{"code": "86001", "name": "A"}],
    )
    image = ct_image(StudyInstanceUID=study, SeriesInstanceUID=series)
    template = encode(image)
    lock = threading.Lock()
    with Archive.open(settings, application="sender") as archive:

        def send() -> None:
            for _ in range(int(count)):
                instance = generate_uid()[:50].ljust(len(image.SOPInstanceUID), "1")
                data = template.replace(image.SOPInstanceUID.encode(), instance.encode())
                receipt = store_bytes(archive, data, image.SOPClassUID, instance, source=MODALITY)
                with lock:
                    print(receipt.outcome, instance, hashlib.sha256(data).hexdigest(), flush=True)

        print("ready", flush=True)
        sys.stdin.readline()
        running = [threading.Thread(target=send) for _ in range(int(threads))]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
