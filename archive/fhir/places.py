"""Endpoints and Organizations: what the settings say of this archive and its facilities. Pure."""

from __future__ import annotations

from archive.fhir.context import Context
from archive.fhir.datatypes import identifier, reference, text, without_empty
from archive.fhir.terms import CONNECTION, ORGANIZATION_TYPE, V2_0203, Json, coding, concept

_PAYLOAD = concept(coding("http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "any", "Any"))


def endpoints(context: Context) -> list[Json]:
    """DICOMweb, and the viewer for people."""
    web = coding(CONNECTION, "dicom-wado-rs", "DICOM WADO-RS")
    page = coding(context.own("connection-type"), "web-viewer", "Web viewer")
    return [
        _endpoint(context, "dicomweb", "DICOMweb", f"{context.site}/dicom-web", web, "application/dicom"),
        _endpoint(context, "viewer", "Trình xem ảnh", f"{context.site}/viewer", page, "text/html"),
    ]


def _endpoint(context: Context, key: str, name: str, address: str, connection: Json, media_type: str) -> Json:
    return {
        "resourceType": "Endpoint",
        "id": key,
        "meta": context.meta("Endpoint"),
        "identifier": [identifier(context.own("endpoint"), key)],
        "status": "active",
        "connectionType": connection,
        "name": name,
        "payloadType": [_PAYLOAD],
        "payloadMimeType": [media_type],
        "address": address,
    }


def organizations(context: Context) -> list[Json]:
    """The facilities, in order of their codes."""
    return [organization(code, name, context) for code, name in sorted(context.facilities.items())]


def organization(code: str, name: str, context: Context) -> Json:
    """A facility."""
    kind = concept(coding(V2_0203, "PRN", "Provider number"), text="Provider number")
    return without_empty(
        {
            "resourceType": "Organization",
            "id": code,
            "meta": context.meta("Organization"),
            "identifier": [identifier(context.settings.systems.provider, code, use="secondary", type=kind)],
            "active": True,
            "type": [concept(coding(ORGANIZATION_TYPE, "prov", "Healthcare Provider"), text="Healthcare Provider")],
            "name": text(name) or code,
            "endpoint": [reference("Endpoint", "dicomweb")],
        }
    )
