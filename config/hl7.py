"""HL7 version 2 over MLLP: where it listens, who may send what, and who is told of reports and orders."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from config.character_sets import CharacterSetName
from config.node import TLSSettings
from config.peers import FACILITY_CODE, AETitle, Certificate, Network, plain_address
from config.section import MEBIBYTE, Section

MessageGroup = Literal["orders", "schedule", "patients", "merges", "results"]
"""``orders``: ORM, OMG, OMI. ``schedule``: SIU. ``patients``: ADT that tells who a patient is. ``merges``: ADT that
merges, links or unlinks patients. ``results``: ORU, reports of another system."""
Identifier = Literal["patient_id", "citizen_id", "insurance", "ignore"]
Told = Literal["reports", "orders"]

_PATH: Final = re.compile(r"[A-Z][A-Z0-9]{2}-[1-9][0-9]{0,2}(\.[1-9][0-9]?){0,2}")


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError(f"{value!r} is no place in a message: write OBR-18, OBR-4.2 or PID-3.4.1")
    return value


Place = Annotated[str, AfterValidator(_path)]
"""Segment, field, component and subcomponent, such as ``OBR-18`` or ``PID-3.4.1``."""

ORDER_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "AccessionNumber": ("IPC-1.1", "OBR-18.1", "SCH-27.1", "ORC-3.1", "OBR-3.1", "SCH-26.1", "ORC-2.1", "OBR-2.1",
                        "SCH-2.1", "SCH-1.1"),
    "RequestedProcedureID": ("IPC-2.1", "OBR-19.1"),
    "ScheduledProcedureStepID": ("IPC-4.1", "OBR-20.1"),
    "StudyInstanceUID": ("IPC-3.1", "ZDS-1.1"),
    "Modality": ("IPC-5.1", "OBR-24.1", "OBR-4.1", "AIS-3.1", "AIG-3.1", "AIL-3.1"),
    "ScheduledStationAETitle": ("IPC-9.1", "OBR-21.1", "AIG-3.1", "AIL-3.1"),
    "ScheduledStationName": ("IPC-7.1",),
    "ScheduledProcedureStepLocation": ("IPC-8.1", "AIL-3.1"),
    "ScheduledProcedureStepStart": ("TQ1-7.1", "AIS-4.1", "SCH-11.4", "OBR-36.1", "ORC-7.4", "OBR-27.4", "OBR-6.1"),
    "RequestedProcedurePriority": ("TQ1-9.1", "ORC-7.6", "OBR-27.6", "OBR-5.1"),
    "RequestedProcedureDescription": ("OBR-44.2", "OBR-4.2", "OBR-4.5", "AIS-3.2", "SCH-7.2", "OBR-4.1", "AIS-3.1"),
    "RequestedProcedureCodeSequence": ("OBR-44", "OBR-4", "AIS-3"),
    "ScheduledProtocolCodeSequence": ("IPC-6",),
    "RequestedProcedureComments": ("NTE-3",),
    "RequestingPhysician": ("ORC-12", "OBR-16", "SCH-16"),
    "ReferringPhysicianName": ("PV1-8", "OBR-16"),
    "RequestingService": ("ORC-17.2", "ORC-17.1", "ORC-21.1"),
    "ReasonForTheRequestedProcedure": ("OBR-31.2", "OBR-31.1"),
    "AdmittingDiagnosesDescription": ("DG1-3.2", "DG1-4.1", "DG1-3.1"),
    "AdditionalPatientHistory": ("OBR-13.1",),
    "PatientTransportArrangements": ("OBR-30.1",),
    "PlacerOrderNumberImagingServiceRequest": ("ORC-2.1", "OBR-2.1", "SCH-26.1"),
    "FillerOrderNumberImagingServiceRequest": ("ORC-3.1", "OBR-3.1", "SCH-27.1"),
    "AdmissionID": ("PV1-19.1", "PID-18.1"),
    "CurrentPatientLocation": ("PV1-3",),
}  # fmt: skip
"""Where each attribute of a worklist item stands in an order, the first place that has a value; a sender may say
otherwise. ``ScheduledProcedureStepStart`` is date and time of the start."""

PATIENT_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "PatientName": ("PID-5",),
    "PatientBirthDate": ("PID-7.1",),
    "PatientSex": ("PID-8.1",),
    "PatientAddress": ("PID-11",),
    "PatientTelephoneNumbers": ("PID-13",),
    "PatientMotherBirthName": ("PID-6",),
    "EthnicGroup": ("PID-22.2", "PID-22.1"),
    "Allergies": ("AL1-3.2", "AL1-3.1"),
}
"""The same for what is said of the patient."""

IDENTIFIERS: Final[dict[str, Identifier]] = {
    "": "patient_id", "MR": "patient_id", "PI": "patient_id", "PT": "patient_id", "MRN": "patient_id",
    "NI": "citizen_id", "NNVNM": "citizen_id", "CCCD": "citizen_id", "CC": "citizen_id",
    "HC": "insurance", "BHYT": "insurance", "MI": "insurance", "NH": "insurance",
}  # fmt: skip
"""What an identifier in PID-3 is, by its type code (PID-3.5, HL7 table 0203)."""

MODALITIES: Final[dict[str, str]] = {
    "CTH": "CT", "MRI": "MR", "NMR": "MR", "NMS": "NM", "RX": "DX", "RAD": "DX", "XR": "DX", "OUS": "US", "RUS": "US",
    "VUS": "US", "CUS": "US", "EC": "ECG", "MAM": "MG", "BMD": "BMD", "PET": "PT", "END": "ES",
}  # fmt: skip
"""Modalities by what others write for them: codes of HL7 table 0074 and usual ones."""

PRIORITIES: Final[dict[str, str]] = {
    "S": "STAT", "STAT": "STAT", "A": "HIGH", "ASAP": "HIGH", "HIGH": "HIGH", "P": "HIGH", "C": "HIGH",
    "R": "ROUTINE", "ROUTINE": "ROUTINE", "T": "MEDIUM", "MEDIUM": "MEDIUM", "LOW": "LOW",
}  # fmt: skip


class HL7TLSSettings(TLSSettings):
    """TLS of the listener and of what we send. Without `certificate_file` it does not listen for TLS."""

    port: int = Field(default=2576, ge=0, le=65535)


class HL7Sender(Section):
    """A system whose messages are taken, known by what it calls itself and from where it calls."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    application: str = Field(default="", max_length=227)
    """MSH-3, its first component; any when empty."""
    sending_facility: str = Field(default="", max_length=227)
    """MSH-4, its first component; any when empty."""
    facility: str = Field(pattern=FACILITY_CODE)
    """Whose orders and patients they are: the code of a facility."""
    addresses: tuple[Network, ...] = ()
    """Where it may call from; empty means anywhere."""
    certificates: tuple[Certificate, ...] = ()
    """SHA-256 fingerprints or names, one of which its certificate must have; then it must call by TLS."""
    messages: frozenset[MessageGroup] = frozenset(("orders", "schedule", "patients", "merges"))
    processing_ids: frozenset[Literal["P", "T", "D"]] = frozenset(("P",))
    """MSH-11: production, training, debugging."""
    default_character_set: CharacterSetName = Field(default="UTF-8", validate_default=True)
    """Of messages that do not say it in MSH-18."""
    actual_character_set: CharacterSetName | None = None
    """What its messages are in, whatever MSH-18 says."""
    reused_control_ids: Literal["refuse", "take"] = "refuse"
    """What to do with a control ID (MSH-10) that another message had before; ``take`` for who counts anew."""
    fields: dict[str, tuple[Place, ...]] = Field(default={})
    """Where it writes an attribute, where not in the usual places."""
    identifiers: dict[str, Identifier] = Field(default={})
    """What its identifiers in PID-3 are, by type code (PID-3.5) or assigning authority (PID-3.4); beside the usual."""
    modalities: dict[str, str] = Field(default={})
    """Modalities by what it writes in the places of Modality."""
    stations: dict[str, AETitle] = Field(default={})
    """AE titles by what it writes in the places of ScheduledStationAETitle."""
    priorities: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not (self.application or self.sending_facility):
            raise ValueError(f"HL7 sender {self.name!r} needs application (MSH-3) or sending_facility (MSH-4)")
        if lost := sorted({*self.fields} - {*ORDER_PLACES, *PATIENT_PLACES}):
            raise ValueError(
                f"HL7 sender {self.name!r} has fields that are not taken from messages: {', '.join(lost)}; "
                f"there are {', '.join(sorted({*ORDER_PLACES, *PATIENT_PLACES}))}"
            )
        for given in (self.default_character_set, self.actual_character_set or ""):
            if "\\" in given or given.startswith("ISO 2022"):
                raise ValueError(f"HL7 sender {self.name!r}: a character set with code extensions is not read")
        for modality in self.modalities.values():
            if not re.fullmatch(r"[A-Z0-9_]{2,16}", modality):
                raise ValueError(f"HL7 sender {self.name!r}: {modality!r} is no modality such as CT")
        return self

    def calls_from(self, address: str) -> bool:
        """Whether a connection from `address` can be this sender."""
        host = ip_address(plain_address(address))
        return not self.addresses or any(host in ip_network(network) for network in self.addresses)

    def places(self, keyword: str) -> tuple[str, ...]:
        """Where this attribute stands in its messages."""
        return self.fields.get(keyword) or ORDER_PLACES.get(keyword) or PATIENT_PLACES[keyword]


class HL7Receiver(Section):
    """A system that is told of reports and orders."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    enabled: bool = True
    host: str = Field(pattern=r"^[A-Za-z0-9_.:-]+$")
    port: int = Field(ge=1, le=65535)
    tls: bool = False
    tls_name: str = Field(default="", pattern=r"^[A-Za-z0-9_.:-]*$")
    """Name or address that its certificate has; `host` when empty."""
    application: str = Field(default="", max_length=227)
    """MSH-5."""
    receiving_facility: str = Field(default="", max_length=227)
    """MSH-6."""
    facilities: tuple[Annotated[str, Field(pattern=FACILITY_CODE)], ...] = ()
    """Of the studies and orders that it is told of; all when empty."""
    messages: frozenset[Told] = frozenset(("reports", "orders"))
    """``reports``: ORU^R01 for each signed version. ``orders``: what became of the orders that came by HL7."""
    order_message: Literal["ORM^O01", "OMG^O19"] = "ORM^O01"
    version: Literal["2.3.1", "2.4", "2.5.1"] = "2.5.1"
    """MSH-12."""
    character_set: Literal["UTF-8", "windows-1258", "ASCII"] = "UTF-8"
    """What it can read; ASCII: without accents."""
    mode: Literal["original", "enhanced"] = "original"
    """Acknowledgement: when it has dealt with a message, or already when it has kept it."""
    pdf: bool = False
    """Whether ORU^R01 carries the report as PDF, too."""
    link: bool = True
    """Whether ORU^R01 carries a link to the images; it opens for who may see them and signs in."""
    timeout: float = Field(default=30, gt=0, le=600)
    """Seconds for each of connecting, sending and waiting for the acknowledgement."""
    refusals: int = Field(default=10, ge=1)
    """Tries after which a message that is refused for now (AR, CR) is set aside."""


class HL7Settings(Section):
    """HL7 version 2 over MLLP."""

    enabled: bool = False
    host: str = "127.0.0.1"
    """Address to listen on. ``""`` or ``"::"``: all addresses of IPv6 and IPv4."""
    port: int = Field(default=2575, ge=0, le=65535)
    plain: bool = True
    """Listen on `port` without TLS."""
    application: str = Field(default="PACS", min_length=1, max_length=227)
    """MSH-3 of what we send."""
    facility: str = Field(default="PACS", max_length=227)
    """MSH-4 of what we send."""
    maximum_message_bytes: int = Field(default=8 * MEBIBYTE, ge=1024, le=256 * MEBIBYTE)
    maximum_connections: int = Field(default=100, ge=1, le=5000)
    maximum_connections_of_address: int = Field(default=20, ge=1, le=5000)
    message_timeout: float = Field(default=30, gt=0)
    """Seconds from the first byte of a message to its last, and for taking our answer."""
    idle_timeout: float = Field(default=3600, gt=0)
    """Seconds without a message after which a connection is closed."""
    keep_days: float = Field(default=365, gt=0)
    """Days after which a message that is done with is deleted from the log."""
    first_wait: float = Field(default=5, gt=0)
    """Seconds until a receiver that does not answer is tried again; doubled each time, up to `longest_wait`."""
    longest_wait: float = Field(default=900, gt=0)
    tls: HL7TLSSettings = HL7TLSSettings()
    senders: tuple[HL7Sender, ...] = ()
    receivers: tuple[HL7Receiver, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, names in (
            ("HL7 sender", [each.name for each in self.senders]),
            ("HL7 receiver", [each.name for each in self.receivers]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} given twice: {', '.join(twice)}")
        if self.enabled and not self.plain and not self.tls.listens:
            raise ValueError("hl7.plain = false needs hl7.tls.certificate_file, or nobody could call")
        if self.plain and self.tls.listens and self.port == self.tls.port != 0:
            raise ValueError("hl7.port and hl7.tls.port are the same")
        for sender in self.senders:
            if sender.certificates and self.enabled and not (self.tls.listens and self.tls.asks_for_certificates):
                raise ValueError(f"HL7 sender {sender.name!r} has certificates: hl7.tls must listen, and ask for them")
        return self

    def check(self, codes: set[str]) -> None:
        """Raise `ValueError` for facilities that are none of these."""
        named = {each.name: {each.facility} for each in self.senders}
        named |= {each.name: {*each.facilities} for each in self.receivers}
        for name, facilities in named.items():
            if lost := sorted(facilities - codes):
                raise ValueError(f"{name!r} of [hl7] names facilities that are not listed: {', '.join(lost)}")
