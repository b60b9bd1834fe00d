"""Settings: where they come from, which wins, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import Settings, SettingsError, load

SECRET = "hunter2-very-secret"


def written(folder: Path, text: str) -> Path:
    path = folder / "pacs.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path, environ=environ or {})
    return str(caught.value)


def test_defaults_need_no_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(environ={})
    assert settings.node.port == 11112
    assert settings.node.ae_title == "PACS"
    assert settings.web.host == "127.0.0.1"
    assert settings.unknown_peers == "reject"


def test_a_file_in_the_working_folder_is_found(tmp_path, monkeypatch) -> None:
    written(tmp_path, '[node]\nae_title = "ARCHIVE"\n')
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).node.ae_title == "ARCHIVE"


def test_the_named_file_is_used_instead(tmp_path, monkeypatch) -> None:
    written(tmp_path, '[node]\nae_title = "ARCHIVE"\n')
    other = tmp_path / "other.toml"
    other.write_text('[node]\nae_title = "OTHER"\n')
    monkeypatch.chdir(tmp_path)
    assert load(environ={"PACS_CONFIG": str(other)}).node.ae_title == "OTHER"


def test_the_environment_wins_over_the_file_key_by_key(tmp_path) -> None:
    path = written(tmp_path, '[node]\nport = 104\nae_title = "ARCHIVE"\n')
    settings = load(path, environ={"PACS_NODE__PORT": "11113"})
    assert settings.node.port == 11113
    assert settings.node.ae_title == "ARCHIVE"


def test_the_real_environment_is_read_when_none_is_given(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACS_WEB__PORT", "8099")
    assert load().web.port == 8099


def test_overrides_win_over_the_file(tmp_path) -> None:
    path = written(tmp_path, 'data_dir = "/srv/pacs"\n')
    assert load(path, environ={}, data_dir=Path("/tmp/x")).data_dir == Path("/tmp/x")


def test_lists_come_from_the_file_and_from_the_environment_as_json(tmp_path) -> None:
    path = written(tmp_path, '[[facilities]]\ncode = "87001"\nname = "Bệnh viện"\n')
    assert load(path, environ={}).facilities[0].name == "Bệnh viện"
    settings = load(path, environ={"PACS_FACILITIES": '[{"code": "87002", "name": "Trung tâm Y tế"}]'})
    assert [facility.code for facility in settings.facilities] == ["87002"]


def test_settings_cannot_be_changed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(environ={})
    with pytest.raises(ValidationError):
        settings.node.port = 1
    with pytest.raises(ValidationError):
        settings.data_dir = tmp_path


def test_folders_lie_in_the_data_folder_unless_set(tmp_path) -> None:
    plain = load(written(tmp_path, 'data_dir = "/srv/pacs"\n'), environ={})
    assert (plain.objects_dir, plain.spool_dir, plain.viewer_dir) == (
        Path("/srv/pacs/objects"),
        Path("/srv/pacs/spool"),
        Path("/srv/pacs/viewer"),
    )
    path = written(tmp_path, '[storage]\nroot = "/big/objects"\nspool = "/fast/spool"\n[web]\nviewer = "/opt/ohif"\n')
    chosen = load(path, environ={})
    assert (chosen.objects_dir, chosen.spool_dir, chosen.viewer_dir) == (
        Path("/big/objects"),
        Path("/fast/spool"),
        Path("/opt/ohif"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[node]\nprot = 104\n", "node.prot: no such setting"),
        ('colour = "blue"\n', "colour: no such setting"),
        ("[node]\nport = 70000\n", "node.port: Input should be less than or equal to 65535"),
        ('[node]\nport = "many"\n', "node.port: Input should be a valid integer"),
        ('[node]\nae_title = "SEVENTEEN_LETTERS"\n', "node.ae_title: 'SEVENTEEN_LETTERS' is not an AE title"),
        ('[web]\nlanguage = "fr"\n', "web.language: Input should be 'vi' or 'en'"),
        ('[database]\nurl = "mysql://x/y"\n', "database.url: the index is PostgreSQL"),
        ('[storage]\nbackend = "s3"\n', "storage: backend s3 needs storage.s3.endpoint, access_key and secret_key"),
        ('[[facilities]]\ncode = "87 001"\nname = "x"\n', "facilities.0.code: "),
        (
            '[[facilities]]\ncode = "1"\nname = "a"\n[[facilities]]\ncode = "1"\nname = "b"\n',
            "facility code given twice: 1",
        ),
        ('[[peers]]\nae_title = "CT1"\nfacility = "87001"\n', "peers name facilities that are not listed: 87001"),
        ('[[peers]]\nae_title = "CT1"\nfacility = "UNKNOWN"\naddresses = ["10.1.2"]\n', "peers.0.addresses.0: "),
    ],
)
def test_a_mistake_is_named_with_its_key_and_reason(tmp_path, text: str, sentence: str) -> None:
    assert sentence in mistakes(written(tmp_path, text))


def test_every_mistake_has_its_own_line(tmp_path) -> None:
    path = written(tmp_path, "[node]\nport = -1\nprot = 3\n[web]\nthreads = 0\n")
    assert len(mistakes(path).splitlines()) == 3


def test_a_file_that_is_not_toml_is_named(tmp_path) -> None:
    path = written(tmp_path, "[node\n")
    assert str(path) in mistakes(path)


def test_a_named_file_must_exist(tmp_path) -> None:
    assert "does not exist" in mistakes(environ={"PACS_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize("name", ["PACS_NODE__PROT", "PACS_NOED__PORT", "PACS_X", "PACS_NODE__PORT__DEEPER"])
def test_a_variable_that_is_no_setting_stops_the_start(tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert mistakes(environ={name: "1"}) == f"{name}: no such setting"


def test_a_bad_variable_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mistakes(environ={"PACS_NODE__PORT": "many"}).startswith("node.port: ")


def test_secrets_come_from_files(tmp_path) -> None:
    for name in ("password", "access", "secret"):
        (tmp_path / name).write_text(f"{SECRET}-{name}\n")
    path = written(
        tmp_path,
        f"""
[database]
url = "postgresql://pacs@db/pacs"
password_file = "{tmp_path}/password"
[storage]
backend = "s3"
[storage.s3]
endpoint = "minio:9000"
access_key_file = "{tmp_path}/access"
secret_key_file = "{tmp_path}/secret"
""",
    )
    settings = load(path, environ={})
    assert settings.database.password.get_secret_value() == f"{SECRET}-password"
    assert settings.storage.s3.access_key.get_secret_value() == f"{SECRET}-access"
    assert settings.storage.s3.secret_key.get_secret_value() == f"{SECRET}-secret"


def test_a_secret_and_its_file_together_are_a_mistake(tmp_path) -> None:
    (tmp_path / "password").write_text(SECRET)
    path = written(tmp_path, f'[database]\npassword = "{SECRET}"\npassword_file = "{tmp_path}/password"\n')
    said = mistakes(path)
    assert "give password or password_file, not both" in said
    assert SECRET not in said


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path) -> None:
    path = written(tmp_path, f'[database]\npassword_file = "{tmp_path}/none"\n')
    assert f"password_file {tmp_path}/none: No such file" in mistakes(path)


@pytest.mark.parametrize(
    "text",
    [
        f'[database]\nurl = "mysql://pacs:{SECRET}@db/pacs"\n',
        f'[storage.s3]\nsecret_key = "{SECRET}"\nsecret_keys = "x"\n',
        f'[database]\npassword = ["{SECRET}"]\n',
        f'[storage.s3]\npart_size = "{SECRET}"\n',
    ],
)
def test_a_mistake_never_repeats_a_value(tmp_path, text: str) -> None:
    assert SECRET not in mistakes(written(tmp_path, text))


def test_secrets_do_not_show_in_the_settings_themselves(tmp_path) -> None:
    path = written(tmp_path, f'[database]\nurl = "postgresql://pacs:{SECRET}@db/pacs"\npassword = "{SECRET}"\n')
    settings = load(path, environ={})
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())
    assert SECRET not in settings.model_dump_json()


def test_settings_are_built_only_from_known_names() -> None:
    assert Settings.model_config["extra"] == "forbid"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "pacs.example", ""])
def test_sign_in_is_off_only_where_nobody_else_can_reach(host: str) -> None:
    with pytest.raises(SettingsError, match=r"access\.sign_in is off"):
        load(environ={}, access={"sign_in": "off"}, web={"host": host})
    assert load(environ={}, web={"host": host}).access.sign_in == "required"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_loopback_sign_in_may_be_off(host: str) -> None:
    assert load(environ={}, access={"sign_in": "off"}, web={"host": host}).access.sign_in == "off"


def test_proxies_are_addresses() -> None:
    assert load(environ={}, web={"trusted_proxies": ["10.0.0.0/8", "::1"]}).web.trusted_proxies == ("10.0.0.0/8", "::1")
    with pytest.raises(SettingsError, match="trusted_proxies"):
        load(environ={}, web={"trusted_proxies": ["everybody"]})
