"""An audit record repository that takes syslog messages by TLS, TCP or UDP, and the schema of PS3.15 A.5.1."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from base64 import b64decode
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element, fromstring

HEADER = re.compile(rb"<85>1 (\S+) (\S+) pacs (\d+) DICOM\+RFC3881 - \xef\xbb\xbf(<\?xml.*)", re.DOTALL)


class Repository:
    """Listens on a free port of loopback; `messages` are the XML documents that came."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.messages: list[bytes] = []
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._readers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and break all connections off."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for reader in self._readers:
            reader.join()
        # What a reader wrapped while we were closing.
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            reader = threading.Thread(target=self._read, args=(connection,), daemon=True)
            self._readers.append(reader)
            reader.start()

    def _read(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            with connection.makefile("rb") as stream:
                while length := self._length(stream):
                    self.messages.append(parsed(stream.read(length)))
        except (OSError, ValueError):
            pass

    @staticmethod
    def _length(stream: Any) -> int:
        """MSG-LEN SP of RFC 5425 4.3.1."""
        digits = b""
        while (byte := stream.read(1)) not in (b" ", b""):
            assert byte.isdigit()
            digits += byte
        return int(digits or b"0")


def parsed(message: bytes) -> bytes:
    """The XML behind the header of RFC 5424."""
    found = HEADER.fullmatch(message)
    assert found is not None, message[:200]
    datetime.fromisoformat(found[1].decode())
    return found[4]


# --- the schema of PS3.15 A.5.1, part by part: attributes (needed, allowed), and the order of children

CODED = {"csd-code", "codeSystemName", "originalText"}
PARTS: dict[str, tuple[set[str], set[str], str]] = {
    "AuditMessage": (
        set(),
        set(),
        r"EventIdentification (ActiveParticipant )+AuditSourceIdentification (ParticipantObjectIdentification )*",
    ),
    "EventIdentification": (
        {"EventDateTime", "EventOutcomeIndicator"},
        {"EventActionCode"},
        r"EventID (EventTypeCode )*(EventOutcomeDescription )?",
    ),
    "ActiveParticipant": (
        {"UserID", "UserIsRequestor"},
        {"AlternativeUserID", "UserName", "NetworkAccessPointID", "NetworkAccessPointTypeCode"},
        r"(RoleIDCode )*(MediaIdentifier )?",
    ),
    "AuditSourceIdentification": ({"AuditSourceID"}, {"AuditEnterpriseSiteID"}, r"(AuditSourceTypeCode )*"),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID"},
        {"ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole", "ParticipantObjectDataLifeCycle"},
        r"ParticipantObjectIDTypeCode (ParticipantObjectName |ParticipantObjectQuery )"
        r"(ParticipantObjectDetail )*(ParticipantObjectDescription )*",
    ),
    "ParticipantObjectDetail": ({"type", "value"}, set(), ""),
    "ParticipantObjectDescription": (set(), set(), r"(MPPS )*(Accession )*(SOPClass )*"),
    "SOPClass": ({"NumberOfInstances"}, {"UID"}, r"(Instance )*"),
    "AuditSourceTypeCode": ({"csd-code"}, {"codeSystemName", "originalText", "displayName"}, ""),
    **dict.fromkeys(
        ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode"), (CODED, {"displayName"}, "")
    ),
    **dict.fromkeys(("EventOutcomeDescription", "ParticipantObjectName", "ParticipantObjectQuery"), (set(), set(), "")),
}
VALUES = {
    "EventActionCode": "[CRUDE]",
    "EventOutcomeIndicator": "0|4|8|12",
    "UserIsRequestor": "true|false",
    "NetworkAccessPointTypeCode": "[1-5]",
    "ParticipantObjectTypeCode": "[1-4]",
    "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
    "NumberOfInstances": "[0-9]+",
}


def checked(message: bytes) -> Element:
    """The message, if it is as the schema says."""
    root = fromstring(message)
    assert root.tag == "AuditMessage"
    for element in root.iter():
        needed, allowed, order = PARTS[element.tag]
        assert needed <= set(element.attrib) <= needed | allowed, (element.tag, element.attrib)
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(order, children), (element.tag, children)
        for name, value in element.attrib.items():
            assert re.fullmatch(VALUES.get(name, "(?s).+"), value), (name, value)
        if element.tag == "ParticipantObjectQuery":
            b64decode(element.text or "", validate=True)
        if element.tag == "ParticipantObjectDetail":
            b64decode(element.attrib["value"], validate=True)
    datetime.fromisoformat(root[0].attrib["EventDateTime"])
    return root
