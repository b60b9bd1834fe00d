"""The FHIR interface: how much one answer holds, by which systems identifiers go, and who may be notified."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from config.receivers import Receiver
from config.section import Section

_VN_CORE = "http://fhir.ehealth.gov.vn/core/sid"


class FhirSystems(Section):
    """The ``system`` of identifiers. The defaults are those of the draft of VN Core (HL7 Vietnam)."""

    citizen: str = f"{_VN_CORE}/national_id"
    """Số định danh cá nhân, CCCD."""
    insurance: str = f"{_VN_CORE}/insurance_number"
    """Thẻ BHYT."""
    patient: str = f"{_VN_CORE}/patient-internal-id"
    """Mã bệnh nhân. It does not say of which hospital; the one below `canonical` does."""
    provider: str = f"{_VN_CORE}/provider-code"
    """MA_CSKCB."""


class FhirReceiver(Receiver):
    """A system that Subscriptions may notify. Whoever is not listed here is sent nothing.

    Its `url` is what ``channel.endpoint`` of a Subscription is, or begins with up to a slash.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    payload: Literal["empty", "id-only"] = "empty"
    """The most that a notification says: that there is something, or which resources."""

    def takes(self, endpoint: str) -> bool:
        """Whether this address is one of the receiver's."""
        path = urlsplit(endpoint).path
        if ".." in path or "%" in path or "\\" in path:
            return False
        return endpoint == self.url or endpoint.startswith(self.url.rstrip("/") + "/")


class FhirSettings(Section):
    """FHIR R4 below ``/fhir``."""

    count: int = Field(default=50, ge=1, le=1000)
    """Matches of one page unless ``_count`` says otherwise."""
    most: int = Field(default=250, ge=1, le=1000)
    """The most of one page, whatever ``_count`` says."""
    most_included: int = Field(default=1000, ge=0, le=10_000)
    """Resources that ``_include`` and ``_revinclude`` add to one page at most."""
    canonical: str = Field(default="urn:pacs:fhir", pattern=r"^(urn:|https?://)[!-~]+$")
    """What names of our own begin with: systems of identifiers, extensions."""
    systems: FhirSystems = FhirSystems()
    receivers: tuple[FhirReceiver, ...] = ()

    @model_validator(mode="after")
    def _receivers_differ(self) -> Self:
        names = [receiver.name for receiver in self.receivers]
        if len(set(names)) < len(names):
            raise ValueError("two receivers have the same name")
        return self
