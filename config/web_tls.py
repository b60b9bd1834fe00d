"""TLS of the web service, where no proxy in front does it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from config.section import Section


class WebTLSSettings(Section):
    """A certificate for browsers and programs. Without one, the service speaks plain HTTP."""

    certificate_file: Path | None = None
    """PEM: our certificate, then those between it and the root."""
    private_key_file: Path | None = None

    @property
    def listens(self) -> bool:
        return self.certificate_file is not None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate_file is None) != (self.private_key_file is None):
            raise ValueError("certificate_file and private_key_file are given together")
        return self
