"""Instance Availability Notification as SCU: tells a peer that a study is here (PS3.4 R, PS3.3 C.4.23)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from archive.records import DicomJSON, StoredInstance
from config.peers import Peer
from config.settings import NodeSettings
from dicom_node import commands
from dicom_node.commands import N_CREATE_RQ, Command, encode_command
from dicom_node.contexts import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dicom_node.identifier import encode_identifier
from dicom_node.requestor import Outgoing, Refused

AVAILABILITY_NOTIFICATION: Final = "1.2.840.10008.5.1.4.33"
_RETRIEVE_AE_TITLE: Final = "00080054"
_INSTANCE_AVAILABILITY: Final = "00080056"
_REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE: Final = "00081111"
_REFERENCED_SERIES_SEQUENCE: Final = "00081115"
_REFERENCED_SOP_CLASS_UID: Final = "00081150"
_REFERENCED_SOP_INSTANCE_UID: Final = "00081155"
_REFERENCED_SOP_SEQUENCE: Final = "00081199"
_STUDY_INSTANCE_UID: Final = "0020000D"
_SERIES_INSTANCE_UID: Final = "0020000E"


def notify(destination: Peer, settings: NodeSettings, instances: Sequence[StoredInstance]) -> Command:
    """Tell of the instances of one study; give the response to the N-CREATE.

    Raises `Refused` also when the peer does not know the service, and what `Exchange` raises.
    """
    proposal = (AVAILABILITY_NOTIFICATION, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))
    association = Outgoing.open(destination, settings, [proposal])
    try:
        contexts = association.exchange.agreement.contexts
        if not contexts:
            raise Refused("the peer takes no Instance Availability Notification")
        ((context_id, context),) = contexts.items()
        request: dict[int, int | str] = {
            commands.AFFECTED_SOP_CLASS_UID: AVAILABILITY_NOTIFICATION,
            commands.COMMAND_FIELD: N_CREATE_RQ,
            commands.MESSAGE_ID: 1,
            commands.COMMAND_DATA_SET_TYPE: commands.WITH_DATA_SET,
            commands.AFFECTED_SOP_INSTANCE_UID: f"2.25.{uuid.uuid4().int}",
        }
        data = encode_identifier(content(instances, settings.ae_title), context.transfer_syntax)
        answer = association.exchange.request(context_id, 1, encode_command(request), (data,)).command
    except BaseException:
        association.abort()
        raise
    association.release(settings.artim_timeout)
    return answer


def content(instances: Sequence[StoredInstance], retrieve_ae_title: str) -> DicomJSON:
    """The attributes of the notification (PS3.4 Table R.3.2-1)."""
    series: dict[str, list[DicomJSON]] = {}
    for inst in instances:
        reference = {
            _REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [inst.sop_class_uid]},
            _REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [inst.sop_instance_uid]},
            _INSTANCE_AVAILABILITY: {"vr": "CS", "Value": ["ONLINE"]},
            _RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [retrieve_ae_title]},
        }
        series.setdefault(inst.series_instance_uid, []).append(reference)
    items = [
        {
            _REFERENCED_SOP_SEQUENCE: {"vr": "SQ", "Value": references},
            _SERIES_INSTANCE_UID: {"vr": "UI", "Value": [uid]},
        }
        for uid, references in series.items()
    ]
    return {
        # Type 2: which procedure step made them is not told.
        _REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE: {"vr": "SQ"},
        _REFERENCED_SERIES_SEQUENCE: {"vr": "SQ", "Value": items},
        _STUDY_INSTANCE_UID: {"vr": "UI", "Value": [instances[0].study_instance_uid]},
    }
