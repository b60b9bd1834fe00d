"""All settings, typed and frozen: ``pacs.toml`` under environment variables ``PACS_SECTION__KEY``.

This is the only module that reads the environment. An unknown key or a bad value raises
:class:`SettingsError` with a sentence per mistake.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from config.access import AccessSettings, is_loopback
from config.audit import AuditSettings
from config.encryption import LOCAL_KEY, EncryptionKey, EncryptionSettings
from config.feed import FeedSettings, Webhook
from config.fhir import FhirSettings
from config.figures import FiguresSettings
from config.hl7 import HL7Settings
from config.identity import IdentitySettings
from config.links import LinkSettings
from config.node import NodeSettings as NodeSettings
from config.oidc import OIDCProvider
from config.peers import Facility, Peer, PeerBook, UnknownPeers, View
from config.reports import ReportSettings
from config.routes import ForwardSettings, Route
from config.section import MEBIBYTE, Section, secret
from config.services import CommitmentSettings, IngestSettings, LogSettings, UPSSettings, WorklistSettings
from config.sharing import SharingSettings
from config.web_tls import WebTLSSettings

PREFIX = "PACS_"
# Variables of this prefix that are not settings: the settings file, and switches of the test suite.
NOT_SETTINGS = frozenset({"PACS_CONFIG"})
MOST_PROCESSES = 4
PROCESSORS_EACH = 2
"""Of a process of the web service, which keeps one busy, and PostgreSQL and the node the other."""


class SettingsError(Exception):
    """The settings cannot be used. The message says which and why, one line per mistake."""


class DatabaseSettings(Section):
    """The index. Without a URL, an embedded PostgreSQL is run in ``data_dir/postgres``."""

    url: SecretStr = SecretStr("")
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    pool_size: int = Field(default=16, ge=2, le=500)
    """Connections per process; the processes of the web service share them."""
    connect_timeout: float = Field(default=10, gt=0)
    statement_timeout: float = Field(default=60, gt=0)
    """Seconds after which PostgreSQL gives up a statement."""

    @field_validator("url")
    @classmethod
    def _only_postgresql(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("the index is PostgreSQL: the URL starts with postgresql://")
        return value

    @model_validator(mode="after")
    def _read_secret(self) -> Self:
        object.__setattr__(self, "password", secret(self.password, self.password_file, "password"))
        return self


class S3Settings(Section):
    """An S3 server. Access is by key pair; both may come from files."""

    endpoint: str = ""
    """``host:port`` without a scheme."""
    bucket: str = "pacs"
    region: str = "us-east-1"
    secure: bool = True
    """HTTPS to the server. Turn off only on a private network."""
    access_key: SecretStr = SecretStr("")
    access_key_file: Path | None = None
    secret_key: SecretStr = SecretStr("")
    secret_key_file: Path | None = None
    part_size: int = Field(default=16 * MEBIBYTE, ge=5 * MEBIBYTE, le=5120 * MEBIBYTE)
    """Bytes; larger objects go up in parts of this size (multipart)."""
    connect_timeout: float = Field(default=5, gt=0)
    read_timeout: float = Field(default=60, gt=0)
    retries: int = Field(default=3, ge=0, le=20)
    max_connections: int = Field(default=32, ge=1)
    write_back: bool = False
    """Success is told when an object is durable in ``storage.spool``, and it goes up afterwards. Until then it is as
    safe as that disk: docs/operations.md says what this takes."""
    uploads: int = Field(default=8, ge=1, le=64)
    """Objects that go up at once from there."""

    @model_validator(mode="after")
    def _read_secrets(self) -> Self:
        object.__setattr__(self, "access_key", secret(self.access_key, self.access_key_file, "access_key"))
        object.__setattr__(self, "secret_key", secret(self.secret_key, self.secret_key_file, "secret_key"))
        return self


class StorageSettings(Section):
    """Where the objects are."""

    backend: Literal["filesystem", "s3", "memory"] = "filesystem"
    root: Path | None = None
    """Folder of the filesystem store; ``data_dir/objects`` when unset."""
    spool: Path | None = None
    """Folder for objects on their way to S3; ``data_dir/spool`` when unset."""
    minimum_free_bytes: int = Field(default=512 * MEBIBYTE, ge=0)
    """A filesystem store, or the spool with ``s3.write_back``, refuses new objects when less than this is free."""
    journal: bool = True
    """A filesystem store, and the spool with ``s3.write_back``, makes small objects durable together, in a receive
    journal beside them. Turn it off where the file system knows no file locks or no ``syncfs``."""
    s3: S3Settings = S3Settings()
    encryption: EncryptionSettings = EncryptionSettings()

    @model_validator(mode="after")
    def _s3_is_complete(self) -> Self:
        if self.backend == "s3" and not (
            self.s3.endpoint and self.s3.access_key.get_secret_value() and self.s3.secret_key.get_secret_value()
        ):
            raise ValueError("backend s3 needs storage.s3.endpoint, access_key and secret_key (or the _file forms)")
        return self


class WebSettings(Section):
    """DICOMweb, the study list and the viewer."""

    host: str = "127.0.0.1"
    """Elsewhere than on loopback, sign-in must be on, and TLS ends in front (docs/operations.md)."""
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = ""
    """Address that browsers use, for example behind a proxy; taken from the request when empty."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)
    """Addresses or networks of proxies that are believed what they say of the caller."""
    tls: WebTLSSettings = WebTLSSettings()
    viewer: Path | None = None
    """Folder of the OHIF build; ``data_dir/viewer`` when unset."""
    language: Literal["vi", "en"] = "vi"
    views: tuple[View, ...] = Field(default=("clinical",), min_length=1)
    """What of the rejected may be asked for by ``?view=``; the first is what those see who do not ask."""
    rejects: bool = False
    """Whether DELETE of studies, series and instances and ``.../reject/{code}`` hide them where nobody signs in. With
    sign-in, the right to reject decides."""
    processes: int = Field(default=0, ge=0, le=64)
    """That answer side by side on the same port; 0: one for every two processors, four at most."""
    threads: int = Field(default=32, ge=4, le=500)
    """Requests worked on at once, over all processes."""
    maximum_request_bytes: int = Field(default=16 * 1024 * MEBIBYTE, ge=MEBIBYTE)
    maximum_rendered_pixels: int = Field(default=100_000_000, ge=1)
    maximum_video_pixels: int = Field(default=1_000_000_000, ge=1)
    """Of all frames of a video together: some 3,800 frames of 512 x 512."""
    video_cache_bytes: int = Field(default=1024 * MEBIBYTE, ge=0)
    """Videos made of frames that are kept on the local disk; 0 for none."""
    frame_cache_bytes: int = Field(default=4096 * MEBIBYTE, ge=0)
    """Pictures, and frames and objects in another transfer syntax than they are stored in, that are kept in
    ``data_dir/cache``; 0: none."""
    maximum_decoded_bytes: int = Field(default=1024 * MEBIBYTE, ge=MEBIBYTE)
    """Largest uncompressed size of an object that is transcoded for one response."""
    metadata_cache_bytes: int = Field(default=4096 * MEBIBYTE, ge=0)
    """Metadata kept ready-made in ``data_dir/cache``; 0: none."""
    metadata_ahead: float = Field(default=0.5, ge=0, le=1)
    """Part of its time that one thread makes metadata of complete studies before anybody asks; 0: none."""

    @property
    def process_count(self) -> int:
        """How many processes there are to be on this machine."""
        return self.processes or min(max(len(os.sched_getaffinity(0)) // PROCESSORS_EACH, 1), MOST_PROCESSES)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ip_network(each)
        return value


class Settings(BaseSettings):
    """Everything that can be set. Build it with :func:`load`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", case_sensitive=False
    )

    data_dir: Path = Path("var")
    database: DatabaseSettings = DatabaseSettings()
    storage: StorageSettings = StorageSettings()
    node: NodeSettings = NodeSettings()
    web: WebSettings = WebSettings()
    access: AccessSettings = AccessSettings()
    sharing: SharingSettings = SharingSettings()
    identity: IdentitySettings = IdentitySettings()
    audit: AuditSettings = AuditSettings()
    links: LinkSettings = LinkSettings()
    reports: ReportSettings = ReportSettings()
    ingest: IngestSettings = IngestSettings()
    commitment: CommitmentSettings = CommitmentSettings()
    forward: ForwardSettings = ForwardSettings()
    worklist: WorklistSettings = WorklistSettings()
    feed: FeedSettings = FeedSettings()
    figures: FiguresSettings = FiguresSettings()
    ups: UPSSettings = UPSSettings()
    hl7: HL7Settings = HL7Settings()
    fhir: FhirSettings = FhirSettings()
    log: LogSettings = LogSettings()
    facilities: tuple[Facility, ...] = ()
    peers: tuple[Peer, ...] = ()
    routes: tuple[Route, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    oidc: tuple[OIDCProvider, ...] = ()
    unknown_peers: UnknownPeers = "reject"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings  # the environment wins over the file

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        codes = [facility.code for facility in self.facilities]
        titles = [peer.ae_title for peer in self.peers]
        for what, values in (("facility code", codes), ("AE title", titles)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{what} given twice: {', '.join(twice)}")
        lost = sorted({peer.facility for peer in self.peers} - {*codes, "UNKNOWN"})
        if lost:
            raise ValueError(f"peers name facilities that are not listed: {', '.join(lost)}")
        self._check_routes()
        self._check_webhooks({*codes, "UNKNOWN"})
        self.hl7.check({*codes, "UNKNOWN"})
        self._check_providers({*codes, "*"})
        return self

    @model_validator(mode="after")
    def _strangers_must_sign_in(self) -> Self:
        if self.access.sign_in == "off" and not is_loopback(self.web.host):
            raise ValueError(
                f"access.sign_in is off, and web.host {self.web.host} can be reached from other machines: "
                "turn sign-in on, or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _peers_can_use_tls(self) -> Self:
        for peer in self.peers:
            if fault := self.node.tls.fault_of(peer):
                raise ValueError(f"{peer.ae_title} {fault[1]}")
        return self

    def _check_routes(self) -> None:
        names = [route.name for route in self.routes]
        if len(set(names)) < len(names):
            raise ValueError("two routes have the same name")
        codes = {facility.code for facility in self.facilities} | {"UNKNOWN"}
        places = {peer.ae_title for peer in self.peers if peer.host}
        for route in self.routes:
            if self.node.ae_title in route.destinations:
                raise ValueError(f"route {route.name!r} sends to {self.node.ae_title}, which is this archive itself")
            if lost := sorted({*route.destinations} - places):
                raise ValueError(
                    f"route {route.name!r} sends to {', '.join(lost)}: list it as a peer with host and port"
                )
            if lost := sorted({*route.facilities} - codes):
                raise ValueError(f"route {route.name!r} names facilities that are not listed: {', '.join(lost)}")

    def _check_webhooks(self, codes: set[str]) -> None:
        names = [webhook.name for webhook in self.webhooks]
        if len(set(names)) < len(names):
            raise ValueError("two webhooks have the same name")
        for webhook in self.webhooks:
            if lost := sorted({*webhook.facilities} - codes):
                raise ValueError(f"webhook {webhook.name!r} names facilities that are not listed: {', '.join(lost)}")

    def _check_providers(self, codes: set[str]) -> None:
        for what, values in (
            ("name", [each.name for each in self.oidc]),
            ("issuer", [each.issuer for each in self.oidc]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"two providers have the same {what}")
        for provider in self.oidc:
            if lost := sorted({each.facility for each in provider.roles} - codes):
                raise ValueError(f"provider {provider.name!r} gives roles at facilities that are not listed: {lost}")

    @property
    def objects_dir(self) -> Path:
        return self.storage.root or self.data_dir / "objects"

    @property
    def spool_dir(self) -> Path:
        return self.storage.spool or self.data_dir / "spool"

    @property
    def waiting_dir(self) -> Path:
        """Objects that wait for S3, with ``storage.s3.write_back``."""
        return self.spool_dir / "waiting"

    @property
    def spools(self) -> bool:
        """Whether objects may wait for S3: also those that are left where ``write_back`` was turned off."""
        return self.storage.backend == "s3" and (self.storage.s3.write_back or self.waiting_dir.is_dir())

    @property
    def web_processes(self) -> int:
        """How many processes the web service is to be: one, where objects are in the memory of a process."""
        return 1 if self.storage.backend == "memory" else self.web.process_count

    @property
    def cache_dir(self) -> Path:
        """What can be made again: it needs no backup, and may be deleted at any time."""
        return self.data_dir / "cache"

    @property
    def local_key(self) -> EncryptionKey:
        """The key that is used where no other is listed, once its file exists; outside of the folder of objects."""
        return EncryptionKey(id=LOCAL_KEY, file=self.data_dir / "keys" / "local.key")

    @property
    def facility_names(self) -> dict[str, str]:
        """What facilities are called, by their codes."""
        return {facility.code: facility.name for facility in self.facilities}

    @property
    def viewer_dir(self) -> Path:
        return self.web.viewer or self.data_dir / "viewer"

    def peer_book(self) -> PeerBook:
        """Who may talk to the node."""
        return PeerBook(self.facilities, self.peers, self.unknown_peers)


def load(path: Path | None = None, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from a TOML file under the environment; `overrides` (whole sections or values) win over the file.

    The file is `path`, else what ``PACS_CONFIG`` names, else ``pacs.toml`` if it exists.
    Raises `SettingsError`.
    """
    env = os.environ if environ is None else environ
    named = path or (Path(env["PACS_CONFIG"]) if env.get("PACS_CONFIG") else None)
    values = {**_read_file(named or Path("pacs.toml"), required=named is not None), **overrides}
    unknown = sorted(_unknown_variables(env))
    if unknown:
        raise SettingsError("\n".join(f"{name}: no such setting" for name in unknown))
    try:
        if environ is None:
            return Settings(**values)
        return _settings_from(environ, values)
    except ValidationError as error:
        raise SettingsError(_sentences(error)) from None


def _settings_from(environ: Mapping[str, str], values: dict[str, Any]) -> Settings:
    class Isolated(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del env_settings, dotenv_settings, file_secret_settings
            source = EnvSettingsSource(settings_cls)
            source.env_vars = {name.lower(): value for name, value in environ.items()}
            return source, init_settings

    return Isolated(**values)


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise SettingsError(f"settings file {path} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings file {path}: {error}") from None


def _unknown_variables(env: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that name no setting, so that a typing mistake is not silently ignored."""
    unknown = []
    for name in env:
        if not name.upper().startswith(PREFIX) or name in NOT_SETTINGS or name.startswith("PACS_TEST_"):
            continue
        model: Any = Settings
        for part in name[len(PREFIX) :].lower().split("__"):
            fields = getattr(model, "model_fields", {})
            if part not in fields:
                unknown.append(name)
                break
            model = fields[part].annotation
    return unknown


def _sentences(error: ValidationError) -> str:
    """One line per mistake; never the value, which may be a secret."""
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "settings"
        message = "no such setting" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {message}")
    return "\n".join(lines)
