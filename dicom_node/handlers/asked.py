"""What C-FIND, C-GET and C-MOVE have in common: a request whose dataset is an identifier (PS3.4 C.4.1.1.3)."""

from __future__ import annotations

from archive.core import Archive
from archive.errors import CannotParse
from dicom_node.commands import Command
from dicom_node.identifier import LONGEST, Identifier, read_identifier
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Collected


class Asked:
    """A request and its identifier, collected until it is whole."""

    def __init__(self, archive: Archive, command: Command, context: Context, caller: Caller) -> None:
        self._archive = archive
        self._command = command
        self._context = context
        self._caller = caller
        self._collected = Collected(LONGEST)

    def write(self, data: memoryview) -> None:
        self._collected.write(data)

    def abort(self) -> None:
        pass

    def _identifier(self) -> Identifier:
        """The identifier, decoded. Raises `CannotParse`."""
        if self._collected.too_long:
            raise CannotParse(f"the identifier is longer than {LONGEST} bytes")
        default = self._caller.peer.default_character_set
        return read_identifier(bytes(self._collected.data), self._context.transfer_syntax, default)
