"""Answers of other archives to requests of ours, wherever they arrive (PS3.4 J.3.3)."""

from __future__ import annotations

import logging

from archive.commitment.orders import Answered
from archive.commitment.records import COMMITTED
from archive.core import Archive
from archive.errors import ArchiveError
from config.logs import fields
from dicom_node.commands import EVENT_TYPE_ID, Command, response
from dicom_node.commitment.information import FAILURES_EXIST, SUCCESSFUL, read_event
from dicom_node.commitment.status import InvalidArgument, NoSuchType, TooMany, check_target, n_event_report_status
from dicom_node.status import SUCCESS

log = logging.getLogger(__name__)


def take_result(
    archive: Archive, ae_title: str, command: Command, data: bytes | None, transfer_syntax_uid: str
) -> bytes:
    """Keep the answer in an N-EVENT-REPORT-RQ of this peer; give the response. Never raises.

    No data stands for too much of it.
    """
    try:
        if data is None:
            raise TooMany("the Event Information is too long")
        check_target(command)
        if command.number(EVENT_TYPE_ID) not in (SUCCESSFUL, FAILURES_EXIST):
            raise NoSuchType(f"no event type {command.number(EVENT_TYPE_ID)}")
        transaction_uid, results = read_event(data, transfer_syntax_uid)
        answered = archive.commitments.orders.answer(ae_title, transaction_uid, results)
        if answered is Answered.UNKNOWN:
            raise InvalidArgument("no request of this Transaction UID was made to this AE title")
    except Exception as error:
        status, comment = n_event_report_status(error)
        facts = fields(status=f"{status:04X}", error=comment, calling=ae_title)
        if isinstance(error, ArchiveError):
            log.warning("answer to a commitment request refused", extra=facts)
        else:
            log.error("answer to a commitment request refused", extra=facts, exc_info=error)
        return response(command, status, comment)
    log.info(
        "commitment request answered",
        extra=fields(
            peer=ae_title,
            transaction=transaction_uid,
            repeated=answered is Answered.KNOWN,
            committed=sum(result.reason == COMMITTED for result in results),
            failed=sum(result.reason != COMMITTED for result in results),
        ),
    )
    return response(command, SUCCESS)
