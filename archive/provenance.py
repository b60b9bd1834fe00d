"""What only the sender's association knew and must outlive the index, kept in the file meta information.

An object of a listed peer needs nothing of the kind: its AE title says all (see `archive.adopt`). Of one from
quarantine, and of one that the archive made itself, the rest stands in Private Information (0002,0102) of its file, so
that an index made anew from the store shows no more than the lost one did (PS3.10 7.1).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from archive.records import Source
from archive.standard.file_format import FileMeta


def remembered(source: Source) -> bytes:
    """What the file of an object from this source says of it; mostly nothing."""
    if source.quarantined:
        return orjson.dumps({"quarantined": True, "address": source.address})
    if source.self_made:
        return orjson.dumps({"facility": source.facility, "issuer": source.issuer_of_patient_id})
    return b""


def recalled(meta: FileMeta, source: Source) -> Source:
    """The source as the file remembers it; `source` is what its AE title says."""
    if not meta.private:
        return source
    try:
        found: dict[str, Any] = orjson.loads(meta.private.rstrip(b"\0"))
    except orjson.JSONDecodeError:
        return source
    return replace(
        source,
        facility=str(found.get("facility", source.facility)),
        issuer_of_patient_id=str(found.get("issuer", source.issuer_of_patient_id)),
        address=str(found.get("address", "")),
        quarantined=bool(found.get("quarantined")),
        self_made="facility" in found,
    )
