"""C-ECHO: the Verification service (PS3.4 Annex A)."""

from __future__ import annotations

from dicom_node.commands import Command, response
from dicom_node.negotiation import Context
from dicom_node.operation import Caller
from dicom_node.status import SUCCESS


class Echo:
    """A C-ECHO-RQ; it carries no dataset and always succeeds."""

    def __init__(self, command: Command, context: Context, caller: Caller) -> None:
        del context, caller
        self._command = command

    def write(self, data: memoryview) -> None:
        del data

    def finish(self) -> bytes:
        return response(self._command, SUCCESS)

    def abort(self) -> None:
        pass
