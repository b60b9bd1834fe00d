"""What resources are made with: the names that this archive goes by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from archive.fhir.terms import PROFILES, Json
from config.fhir import FhirSettings


@dataclass(frozen=True, slots=True)
class Context:
    """Where this archive is, and what it calls things."""

    settings: FhirSettings
    base: str
    """The address of the FHIR service, without a slash at its end."""
    site: str
    """That of the web service."""
    facilities: dict[str, str] = field(default_factory=dict)
    """Names of facilities by their codes."""
    issuers: dict[str, str] = field(default_factory=dict)
    """Codes of facilities by the issuers of patient IDs that are theirs."""

    def patient_system(self, issuer: str) -> str:
        """The system of patient IDs that this issuer has given."""
        return f"{self.settings.canonical}:patient-id:{issuer}"

    def accession_system(self, facility: str) -> str:
        """The system of accession numbers of a facility."""
        return f"{self.settings.canonical}:accession-number:{facility}"

    def own(self, name: str) -> str:
        """A name of our own."""
        return f"{self.settings.canonical}:{name}"

    def meta(self, kind: str, updated: str = "", version: str = "") -> Json:
        """The ``meta`` of a resource."""
        made: Json = {"versionId": version} if version else {}
        if updated:
            made["lastUpdated"] = updated
        if kind in PROFILES:
            made["profile"] = [PROFILES[kind]]
        return made
