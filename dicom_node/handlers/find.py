"""C-FIND: the query service (PS3.4 C.4.1).

Keys are matched by `archive.search`, the same as for QIDO-RS. Nothing of an identifier is logged but its level.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from archive.conditions import can_be_matched, can_be_returned
from archive.core import Archive
from archive.errors import ArchiveError, NotPermitted, TooManyMatches
from archive.records import DicomJSON, Level, Query, Scope
from config.logs import fields
from dicom_node.commands import Command, response
from dicom_node.exchange import Exchange
from dicom_node.handlers.asked import Asked
from dicom_node.identifier import Identifier, encode_identifier
from dicom_node.models import FIND, QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Dialogue, Operation
from dicom_node.status import CANCEL, PENDING, PENDING_UNSUPPORTED_KEYS, SUCCESS, c_find_status
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)

PAGE: Final = 250
"""Matches that are in memory at once."""
_RETRIEVE_AE_TITLE: Final = 0x00080054
_INSTANCE_AVAILABILITY: Final = 0x00080056
_NOT_KEYS: Final = frozenset((QUERY_RETRIEVE_LEVEL, 0x00080053, _RETRIEVE_AE_TITLE, 0x00080201))
"""Level, view, where from, and the time zone of the request: they tell of the query, nothing matches them."""


class FindService:
    """Makes a `Find` for each C-FIND-RQ."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        return Find(self._archive, command, context, caller)


class Find(Asked):
    """One C-FIND-RQ and its responses."""

    def finish(self) -> bytes | Dialogue:
        try:
            if not self._caller.peer.may("find"):
                raise NotPermitted("this AE title may not query")
            answers = _Answers(self._archive, self._context, self._identifier(), self._caller.scope)
        except Exception as error:
            return self._failure(error)

        def answer(exchange: Exchange) -> None:
            self._answer(exchange, answers)

        return answer

    def _answer(self, exchange: Exchange, answers: _Answers) -> None:
        """Send the matches, then the final response."""
        sent = 0
        wanted, shown = answers.character_sets, self._caller.peer.character_sets
        pending = response(self._command, answers.pending, with_data_set=True)
        syntax, context_id = self._context.transfer_syntax, exchange.context_id
        try:
            for match in answers:
                if exchange.poll():
                    final = response(self._command, CANCEL)
                    break
                exchange.respond(context_id, pending, encode_identifier(match, syntax, wanted, shown))
                sent += 1
            else:
                final = response(self._command, SUCCESS)
        except (PeerGone, PeerSilent, ProtocolError):
            raise
        except Exception as error:
            final = self._failure(error)
        exchange.respond(context_id, final)
        log.info(
            "query answered",
            extra=fields(level=answers.level.value, matches=sent, calling=self._caller.calling_ae_title),
        )

    def _failure(self, error: BaseException) -> bytes:
        status, comment = c_find_status(error)
        # By its kind: the comment may quote a value of the identifier, which the log must not.
        facts = fields(status=f"{status:04X}", error=type(error).__name__, calling=self._caller.calling_ae_title)
        if isinstance(error, ArchiveError):
            log.warning("query refused", extra=facts)
        else:
            log.error("query refused", extra=facts, exc_info=error)
        return response(self._command, status, comment)


class _Answers:
    """The matches of an identifier, as identifiers of responses (PS3.4 C.4.1.1.3.2)."""

    def __init__(self, archive: Archive, context: Context, identifier: Identifier, scope: Scope) -> None:
        model = FIND[context.abstract_syntax]
        keys = identifier.keys
        self._archive = archive
        self._scope = scope
        self.level = model.level(keys.get(QUERY_RETRIEVE_LEVEL, ""))
        if not context.relational:
            model.check_keys_above(self.level, keys)
        asked = {tag: value for tag, value in keys.items() if tag not in _NOT_KEYS}
        level = self.level
        matched = {tag: value for tag, value in asked.items() if can_be_matched(level, tag)}
        returned = {tag for tag in asked if can_be_returned(level, tag)}
        # Keys that can be returned but not matched, such as counts, are taken for universal ones.
        self._query = Query(level, dict.fromkeys(returned, "") | matched, fuzzy=context.fuzzy)
        unsupported = {tag for tag, value in asked.items() if tag not in (matched if value.strip("* ") else returned)}
        self.pending = PENDING_UNSUPPORTED_KEYS if unsupported else PENDING
        self.character_sets = identifier.character_sets
        unique = {UNIQUE_KEYS[each] for each in model.levels[: model.levels.index(level) + 1]}
        self._returned = {f"{tag:08X}" for tag in returned | unique}

    def __iter__(self) -> Iterator[DicomJSON]:
        """One by one, fetched by pages. Raises `TooManyMatches` behind the last that may be given."""
        cap = self._archive.settings.ingest.query_limit
        study = self._query.keys.get(UNIQUE_KEYS[Level.STUDY], "")
        # What is in one study has an end of its own: a scan of 3,000 slices must be listed whole.
        bounded = bool(study) and "\\" not in study
        seen: set[tuple[str, ...]] = set()
        offset = 0
        while True:
            limit = min(PAGE, cap) if bounded else min(PAGE, cap - offset)
            result = self._archive.search(replace(self._query, limit=limit, offset=offset), self._scope)
            for match in result.matches:
                # A study that arrives meanwhile moves others to the next page: they must not come twice.
                name = self._name(match)
                if name is None or name not in seen:
                    yield self._identifier(match)
                if name is not None:
                    seen.add(name)
            offset += len(result.matches)
            if not result.matches or offset >= result.total:
                return
            if not bounded and offset >= cap:
                raise TooManyMatches(f"over {cap} matches: narrow by date, patient or accession")

    def _name(self, match: DicomJSON) -> tuple[str, ...] | None:
        """What tells this match from others; None where nothing does, as for patients without an ID."""
        values = match.get(f"{UNIQUE_KEYS[self.level]:08X}", {}).get("Value")
        issuer = match.get("00100021", {}).get("Value", [""]) if self.level is Level.PATIENT else [""]
        return (str(values[0]), str(issuer[0])) if values else None

    def _identifier(self, match: DicomJSON) -> DicomJSON:
        found = {key: element for key, element in match.items() if key in self._returned}
        found[f"{QUERY_RETRIEVE_LEVEL:08X}"] = {"vr": "CS", "Value": [self.level.value]}
        found[f"{_RETRIEVE_AE_TITLE:08X}"] = {"vr": "AE", "Value": [self._archive.settings.node.ae_title]}
        if self.level is not Level.PATIENT:
            found[f"{_INSTANCE_AVAILABILITY:08X}"] = {"vr": "CS", "Value": ["ONLINE"]}
        return found
