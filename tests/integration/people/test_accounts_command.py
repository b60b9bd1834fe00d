"""``python -m archive accounts`` as an operator calls it, and the accounts of the demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive.cli import main
from archive.core import Archive
from archive.demo import SETTINGS, accounts
from archive.people.roles import Right
from config.settings import Settings, load


@pytest.fixture
def environment(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Archive.open(settings).close()  # names the facilities
    file = tmp_path / "pacs.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n[[facilities]]\ncode = "86001"\nname = "BV"\n', encoding="utf-8")
    monkeypatch.setenv("PACS_CONFIG", str(file))
    monkeypatch.setenv("PACS_DATABASE__URL", settings.database.url.get_secret_value())


def run(*arguments: str) -> int:
    return main(["accounts", *arguments])


@pytest.mark.usefixtures("environment")
def test_the_first_administrator(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "chief", "--display-name", "Lê Văn Chính", "--role", "province_admin@*") == 0
    given = capsys.readouterr().out.strip()
    assert len(given) >= 20
    assert run("add", "chief", "--display-name", "Lê Văn Chính", "--role", "province_admin@*") == 1
    assert "taken" in capsys.readouterr().err
    assert run("add", "his", "--display-name", "HIS", "--role", "service@86001", "--right", "store") == 0
    assert run("roles", "his", "--role", "service@86001", "--right", "view") == 0
    for action in ("disable", "unlock", "reset-factor"):
        assert run(action, "chief") == 0
    capsys.readouterr()
    assert run() == run("list") == 0
    out = capsys.readouterr().out
    assert "province_admin@*" in out
    assert "[disabled]" in out
    assert run("enable", "chief") == 0
    assert run("password", "chief") == 0
    assert capsys.readouterr().out.strip() != given
    assert run("disable", "nobody") == 1


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "role", ["radiologist", "radiologist@", "boss@86001", "@86001", "province_admin@86001", "radiologist@999"]
)
def test_roles_that_cannot_be_given(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert run("add", "x1", "--display-name", "X", "--role", role) == 1
    except SystemExit as error:
        assert error.code == 2
    assert "x1" not in capsys.readouterr().out


def test_the_demo_has_one_account_of_each_kind(settings: Settings) -> None:
    demo = load(SETTINGS, environ={})
    with Archive.open(settings.model_copy(update={"facilities": demo.facilities})) as archive:
        made = accounts.make(archive)
        file = settings.data_dir / accounts.FILE
        assert file.stat().st_mode & 0o777 == 0o600
        assert [tuple(line.split("\t")) for line in file.read_text().splitlines()] == made
        by_name = dict(made)
        for each in accounts.ACCOUNTS:
            password = by_name[each.name]
            if each.rights:
                assert archive.people.programs.token(archive.people.programs.by_secret(each.name, password, ""), "")
            else:
                stage = archive.people.signing_in.by_password(each.name, password, "").stage
                assert stage == ("enrol" if each.name.startswith("quantri") else "open")
        assert accounts.make(archive) == []
        assert Right.VIEW in accounts.ACCOUNTS[-1].rights
