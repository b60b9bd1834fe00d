"""FHIR R4 over HTTP, below ``/fhir``."""
