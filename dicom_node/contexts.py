"""What the node negotiates: abstract syntaxes and, for each, transfer syntaxes in order of preference (PS3.8 9.3.2).

Storage is not a list but a rule: every storage SOP class, retired and private ones too, in every transfer syntax a
dataset can be stored in. A modality that proposes a class nobody has heard of yet still gets rid of its images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pynetdicom.presentation import PresentationContext

from archive.standard.uids import is_storage_sop_class, transfer_syntax
from dicom_node.commitment.information import STORAGE_COMMITMENT
from dicom_node.models import FIND, GET, MODALITY_WORKLIST_FIND, MOVE, PERFORMED_STEP, PERFORMED_STEP_RETRIEVE

VERIFICATION: Final = "1.2.840.10008.1.1"
IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"

UNCOMPRESSED: Final = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
"""Preferred, in this order, where one context offers several syntaxes: a sender that holds uncompressed pixels must
never be led to compress them, which could be lossy. Lossless syntaxes come next, lossy ones last. A sender that holds
compressed pixels and wants to keep them so proposes a context with that syntax alone, and gets it."""

_PLAIN: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
COMMAND_SERVICES: Final = {
    VERIFICATION: (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN),
    **dict.fromkeys((*FIND, *MOVE, *GET, MODALITY_WORKLIST_FIND, PERFORMED_STEP, PERFORMED_STEP_RETRIEVE), _PLAIN),
    STORAGE_COMMITMENT: _PLAIN,
}
"""Abstract syntaxes beside storage: UID to transfer syntaxes."""

SELECTABLE_ROLES: Final = frozenset((STORAGE_COMMITMENT,))
"""Abstract syntaxes beside storage of which a peer may propose to be the SCP."""


def acceptable_transfer_syntaxes(abstract_syntax: str, proposed: Sequence[str]) -> list[str]:
    """Those of the proposed transfer syntaxes that we take for this abstract syntax, best first."""
    if abstract_syntax in COMMAND_SERVICES:
        return [syntax for syntax in COMMAND_SERVICES[abstract_syntax] if syntax in proposed]
    if not is_storage_sop_class(abstract_syntax):
        return []
    plain = [syntax for syntax in UNCOMPRESSED if syntax in proposed]
    described = [transfer_syntax(syntax) for syntax in proposed if syntax not in plain]
    # Stable: within the lossless and within the lossy ones, the proposer's order is kept.
    return plain + [syntax.uid for syntax in sorted(filter(None, described), key=lambda syntax: syntax.lossy)]


def acceptor_contexts(requested: PresentationContext) -> list[PresentationContext]:
    """Our side of the negotiation of one proposal: a context, or none for an abstract syntax that we do not serve."""
    abstract_syntax = str(requested.abstract_syntax)
    if not (abstract_syntax in COMMAND_SERVICES or is_storage_sop_class(abstract_syntax)):
        return []
    context = PresentationContext()
    context.abstract_syntax = abstract_syntax
    proposed = [str(syntax) for syntax in requested.transfer_syntax]
    # A served class whose syntaxes we all refuse must be answered with result 4, not 3 (PS3.8 Table 9-18).
    for syntax in acceptable_transfer_syntaxes(abstract_syntax, proposed) or [EXPLICIT_VR_LITTLE_ENDIAN]:
        context.add_transfer_syntax(syntax)
    return [context]
