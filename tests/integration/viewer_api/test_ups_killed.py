"""A web service that is killed between a change of a workitem and the delivery of its event."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from websockets.sync.client import connect

from archive.core import Archive
from tests.conformance.test_ps3_18_11_ups import GLOBAL, ITEMS, claim, create, states, subscribe


@contextmanager
def killed_at_the_end(archive: Archive, folder: Path) -> Iterator[str]:
    """The address of a web service in a process of its own, which ends by SIGKILL."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PACS_")} | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "PACS_DATA_DIR": str(folder),
        "PACS_DATABASE__URL": archive.settings.database.url.get_secret_value(),
        "PACS_WEB__PORT": "0",
        "PACS_ACCESS__SIGN_IN": "off",
    }
    with (folder / "web.log").open("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "viewer_api"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            address = None
            for line in process.stderr:
                output.write(line)
                address = re.search(r"http://127\.0\.0\.1:[1-9]\d*", line)
                if address:
                    break
            assert address, (folder / "web.log").read_text()
            yield address[0]
        finally:
            process.kill()
            process.communicate()


def test_no_event_is_lost_when_a_server_is_killed(archive: Archive, tmp_path: Path) -> None:
    with killed_at_the_end(archive, tmp_path) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert subscribe(client, GLOBAL).status_code == 201
        uid = create(client)
        transaction = claim(client, uid)
    with (
        killed_at_the_end(archive, tmp_path) as url,
        httpx.Client(base_url=url, timeout=60) as client,
        connect(f"{url.replace('http', 'ws')}/dicom-web/subscribers/WATCH") as channel,
    ):
        assert states(channel, 2) == [(uid, 1, "SCHEDULED"), (uid, 1, "IN PROGRESS")]
        second = create(client)
        assert states(channel, 1) == [(second, 1, "SCHEDULED")]
    with (
        killed_at_the_end(archive, tmp_path) as url,
        httpx.Client(base_url=url, timeout=60) as client,
        connect(f"{url.replace('http', 'ws')}/dicom-web/subscribers/WATCH") as channel,
    ):
        claim(client, second)
        seen = []
        # What was given to the killed one may come once more; what came after it must come.
        while not seen or seen[-1] != (second, 1, "IN PROGRESS"):
            seen += states(channel, 1)
        assert set(seen) <= {(second, 1, "SCHEDULED"), (second, 1, "IN PROGRESS"), (uid, 1, "IN PROGRESS"),
                             (uid, 1, "SCHEDULED")}  # fmt: skip
        assert transaction not in json.dumps(client.get(f"{ITEMS}/{uid}").json())
