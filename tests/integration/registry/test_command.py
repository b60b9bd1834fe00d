"""``python -m archive peers``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from archive.core import Archive
from config.settings import Settings
from tests.integration.archive.support import sql


def command(settings: Settings, folder: Path, *arguments: str) -> tuple[int, str, str]:
    config = folder / "pacs.toml"
    facilities = "".join(f'[[facilities]]\ncode = "{each.code}"\nname = "X"\n' for each in settings.facilities)
    config.write_text(facilities + '[[peers]]\nae_title = "CT1"\nfacility = "86001"\n', encoding="utf-8")
    environment = {
        **os.environ,
        "PACS_CONFIG": str(config),
        "PACS_DATA_DIR": str(settings.data_dir),
        "PACS_DATABASE__URL": settings.database.url.get_secret_value(),
        "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "archive", "peers", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_peers_are_looked_after_by_hand(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    def peers(*arguments: str) -> tuple[int, str, str]:
        return command(settings, tmp_path, *arguments)

    assert peers("add", "CT9", 'facility="86001"', 'addresses=["10.1.2.3"]')[0] == 0
    code, _, said = peers("add", "CT1", 'facility="86001"')
    assert code == 1 and "pacs.toml" in said
    code, _, said = peers("add", "CT8", 'facility="86009"')
    assert code == 1 and "facility" in said
    assert peers("add", "CT8", "facility=")[0] == 2
    assert peers("change", "CT9", 'rights=["store", "find"]')[0] == 0
    assert peers("disable", "CT9")[0] == 0
    code, listed, _ = peers()
    assert code == 0
    assert "CT1" in listed and "(pacs.toml)" in listed
    assert "10.1.2.3" in listed and "['find', 'store']" in listed and "[disabled]" in listed and "revision 3" in listed
    assert peers("enable", "CT9")[0] == 0 and peers("remove", "CT9")[0] == 0
    assert peers("remove", "CT9")[0] == 1
    acts = sql(archive, "SELECT detail ->> 'what' FROM audit_record WHERE action = 'setting' ORDER BY recorded_at")
    assert [each for each in acts if each.startswith("peer ")] == [
        f"peer {act}" for act in ("added", "changed", "disabled", "enabled", "removed")
    ]
