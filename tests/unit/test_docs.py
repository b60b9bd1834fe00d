"""Documents that must follow the code."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr

from config.settings import Settings, load
from tests.certificates import Authority

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "pacs.example.toml"


# --- pacs.example.toml


def settings_of(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted name and default of every setting; ``[]`` stands for an entry of a list."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        entry = next((kind for kind in get_args(field.annotation) if is_model(kind)), None)
        if is_model(field.annotation):
            found |= settings_of(field.annotation, f"{prefix}{name}.")
        elif entry is not None:
            optional = type(None) in get_args(field.annotation)
            found |= settings_of(entry, f"{prefix}{name}{'' if optional else '[]'}.")
        else:
            found[prefix + name] = field.get_default()
    return found


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    leaves = settings_of(Settings)
    for name, value in values.items():
        if isinstance(value, dict) and prefix + name not in leaves:
            found |= flattened(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                found |= flattened(entry, f"{prefix}{name}[].")
        else:
            found[prefix + name] = value
    return found


def with_defaults() -> str:
    """The example with its defaults switched on."""
    return re.sub(r"^#(?=\w+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def defaults() -> dict[str, Any]:
    """The settings that the example shows as defaults, where their section says."""
    text = EXAMPLE.read_text(encoding="utf-8").split("\n[[")[0]
    kept = [line.removeprefix("#") for line in text.splitlines() if re.match(r"\[|#\w+ = ", line)]
    return flattened(tomllib.loads("\n".join(kept)))


def test_the_example_explains_every_setting_and_no_other() -> None:
    assert set(flattened(tomllib.loads(with_defaults()))) == set(settings_of(Settings))


def test_the_defaults_in_the_example_are_the_defaults() -> None:
    real = settings_of(Settings)
    for name, shown in defaults().items():
        expected = real[name]
        if isinstance(expected, SecretStr):
            expected = expected.get_secret_value()
        elif isinstance(expected, tuple):
            expected = list(expected)
        elif isinstance(expected, Path):
            expected = str(expected)
        elif isinstance(expected, tuple):
            expected = list(expected)
        assert shown == expected, name


def test_what_is_no_default_in_the_example_has_none_that_could_be_shown() -> None:
    shown = set(flattened(tomllib.loads(with_defaults()))) - set(defaults())
    for name in shown:
        real = settings_of(Settings)[name]
        assert "[]" in name or real is None or real in ("", SecretStr("")), name


def test_the_example_can_be_used(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    names = ("database_password", "s3_access_key", "s3_secret_key", "tls_key_password")
    for name in (*names, "webhook_secret", "webhook_old_secret", "audit_key", "audit_old_key", "sms", "oidc_secret"):
        (tmp_path / name).write_text("secret of many characters")
    shutil.copy(Authority(tmp_path).file, tmp_path / "sms_ca")
    path = tmp_path / "pacs.toml"
    path.write_text(text.replace("/run/secrets", str(tmp_path)), encoding="utf-8")
    settings = load(path, environ={})
    assert settings.facilities[0].code == "87001"


# --- generated tables


def test_the_generated_tables_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `make docs`:\n{done.stdout}{done.stderr}"


# --- links and commands


DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_and_modules_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= targets
    for module in re.findall(r"python -m ([a-z0-9_.]+)", text):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    variables = {"PACS_" + name.upper().replace(".", "__") for name in settings_of(Settings) if "[]" not in name}
    variables |= {"PACS_CONFIG", "PACS_FACILITIES", "PACS_PEERS"}
    assert set(re.findall(r"\bPACS_[A-Z0-9_]+", text)) <= variables


# --- log messages


def messages_in_code() -> set[str]:
    """First arguments of calls that can log at WARNING or above."""
    found: set[str] = set()
    for package in ("config", "storage", "archive", "dicom_node", "viewer_api"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            constants = {
                node.targets[0].id: node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
                if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            }
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and is_loud(call):
                    for argument in call.args[:2]:
                        text = constants.get(argument.id) if isinstance(argument, ast.Name) else None
                        text = argument.value if isinstance(argument, ast.Constant) else text
                        if isinstance(text, str):
                            found.add(text)
    return found


def is_loud(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "log":
        if function.attr == "log":
            return bool(re.search("WARNING|ERROR", ast.unparse(call.args[0])))
        return function.attr in ("warning", "error", "exception", "critical")
    return isinstance(function, ast.Name) and function.id == "log_failure"


def test_operations_explains_every_warning_and_error_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split("## Log messages")[1]
    assert set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)) == messages_in_code()


# --- security.md


def test_every_attack_names_a_test_that_there_is() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_0-9/]+\.py)::(test_[a-z_0-9]+)`", text)
    assert len(named) > 40
    for file, test in named:
        path = ROOT / "tests" / "integration" / file
        assert path.is_file(), file
        assert f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"
