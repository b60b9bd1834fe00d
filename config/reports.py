"""How reports are written and signed."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from config.section import Section


class ReportSettings(Section):
    """Reports of radiologists."""

    tele_reading: bool = True
    """Whether a facility to which a study was referred, or with which it is consulted about, may report on it."""
    two_readers: bool = False
    """Whether nobody signs a report whose preliminary version somebody else has not written (resident, specialist)."""
    licence_required: bool = True
    """Whether who signs needs the number of a practising licence (MA_BS_DOC_KQ)."""
    signature_required: bool = False
    """Whether nothing is signed without an electronic signature that can be checked."""
    signature_authorities: Path | None = None
    """A PEM file with the certificates of the authorities whose signatures count."""
    templates: Path | None = None
    """A folder of templates: ``*.toml`` for all, ``CODE/*.toml`` for one facility."""
    structured_report: bool = True
    """Whether a signed report becomes a DICOM Structured Report beside the images."""
    pdf: bool = True
    """Whether it becomes an encapsulated PDF, too."""
    urgent_hours: float = Field(default=2, gt=0)
    """Hours after which an urgent study without a report is marked as late."""
    late_hours: float = Field(default=24, gt=0)
    """The same for all others."""
