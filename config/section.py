"""What all sections of the settings share."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr

MEBIBYTE = 1 << 20


class Section(BaseModel):
    """Part of the settings: it cannot be changed, and has no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def secret(value: SecretStr, path: Path | None, name: str) -> SecretStr:
    """The secret itself, or what stands in the file given instead of it. Raises `ValueError`."""
    if path is None:
        return value
    if value.get_secret_value():
        raise ValueError(f"give {name} or {name}_file, not both")
    try:
        return SecretStr(path.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise ValueError(f"{name}_file {path}: {error.strerror}") from None
