"""Metadata of stored instances in the DICOM JSON model, and the bulk data it refers to (PS3.18 10.4.1.1.4, F.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from typing import Any, Final, NamedTuple

import orjson
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from archive.errors import NotFound
from archive.records import DicomJSON, StoredInstance
from archive.retrieve import Encoded, coding_of, parse, pixel_header, read_corrected, read_encoded
from archive.standard.coding import vr_of
from archive.standard.json_model import BulkPath, BulkURI, header_json
from archive.standard.json_text import TextWriter, Unusual, marked
from storage.base import ObjectStore

# Readers of one request: they hide the delay of an object store, and more would only take turns.
_READERS: Final = 6
_AHEAD: Final = 2 * _READERS
# To give work to a thread costs as much as to read two headers of a local disk. Those of multi-frames can be large.
_BATCH: Final = 16
_BATCH_BYTES: Final = 1 << 20


class BulkData(NamedTuple):
    """A value that metadata refers to, little endian."""

    vr: str
    value: bytes


def resource_of(inst: StoredInstance) -> str:
    """What comes between the root of the service and the path of a bulk data element (PS3.18 10.4.1.1.5)."""
    series = f"/studies/{inst.study_instance_uid}/series/{inst.series_instance_uid}"
    return f"{series}/instances/{inst.sop_instance_uid}/bulkdata/"


def instance_metadata(store: ObjectStore, inst: StoredInstance, bulk_uri: BulkURI) -> DicomJSON:
    """All attributes of an instance; large values and the pixels as Bulk Data URIs (PS3.18 10.4.1.1.4)."""
    return _metadata(read_corrected(store, inst), inst, bulk_uri)


def each_metadata(
    store: ObjectStore, found: Sequence[StoredInstance], bulk_uri_of: Callable[[StoredInstance], BulkURI]
) -> Generator[DicomJSON, None, None]:
    """Metadata of the instances in their order; several headers are read at once."""
    with closing(_each_header(store, found)) as headers:
        for inst, encoded in zip(found, headers, strict=True):
            yield _metadata(encoded, inst, bulk_uri_of(inst))


def each_text(store: ObjectStore, found: Sequence[StoredInstance]) -> Generator[bytes, None, None]:
    """The same as JSON objects that lack only what `archive.standard.json_text.with_addresses` puts in."""
    writer, series = TextWriter(), ""
    with closing(_each_header(store, found)) as headers:
        for inst, encoded in zip(found, headers, strict=True):
            if inst.series_instance_uid != series:
                writer, series = TextWriter(), inst.series_instance_uid
            yield _text(writer, encoded, inst)


def _metadata(encoded: Encoded, inst: StoredInstance, bulk_uri: BulkURI) -> DicomJSON:
    found = header_json(encoded.header + encoded.trailer, inst.object.transfer_syntax_uid, bulk_uri)
    if encoded.pixel_header:
        tag, vr, _, _ = pixel_header(encoded, inst)
        key = f"{tag:08X}"
        found[key] = {"vr": vr, "BulkDataURI": bulk_uri([key])}
        found = dict(sorted(found.items()))
    return found


def _text(writer: TextWriter, encoded: Encoded, inst: StoredInstance) -> bytes:
    pixels = pixel_header(encoded, inst)[:2] if encoded.pixel_header else None
    syntax, resource = inst.object.transfer_syntax_uid, resource_of(inst)
    try:
        return writer.write(encoded.header + encoded.trailer, syntax, pixels, resource)
    except Unusual:
        return orjson.dumps(_metadata(encoded, inst, marked(resource)))


def _each_header(store: ObjectStore, found: Sequence[StoredInstance]) -> Generator[Encoded, None, None]:
    """The corrected elements of the instances in their order."""
    if len(found) < 3:
        yield from (read_corrected(store, inst) for inst in found)
        return

    def read(batch: Sequence[StoredInstance]) -> list[Encoded]:
        return [read_corrected(store, inst) for inst in batch]

    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="metadata")
    pending: deque[Future[list[Encoded]]] = deque()
    try:
        for batch in _batches(found):
            if len(pending) >= _AHEAD:
                yield from pending.popleft().result()
            # The copied context carries the correlation id into the thread.
            pending.append(pool.submit(copy_context().run, read, batch))
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(found: Sequence[StoredInstance]) -> Generator[Sequence[StoredInstance], None, None]:
    """Cut the instances into what one thread reads at a time, by the bytes of their headers."""
    most = min(_BATCH, -(-len(found) // _READERS))
    start = size = 0
    for at, inst in enumerate(found, 1):
        size += inst.object.header_length
        if at - start == most or size >= _BATCH_BYTES or at == len(found):
            yield found[start:at]
            start, size = at, 0


def parse_bulk_path(text: str) -> BulkPath:
    """The path that a Bulk Data URI ends with: ``54000100/0/54001010``. Raises NotFound for anything else."""
    path: BulkPath = []
    for position, part in enumerate(text.split("/")):
        if position % 2:
            if not (part.isdecimal() and part.isascii() and len(part) <= 9):
                raise NotFound("no such bulk data")
            path.append(int(part))
        else:
            path.append(f"{_tag(part):08X}")
    if len(path) % 2 == 0:
        raise NotFound("no such bulk data")
    return path


def _tag(text: str) -> int:
    if len(text) != 8 or any(c not in "0123456789abcdefABCDEF" for c in text):
        raise NotFound("no such bulk data")
    return int(text, 16)


def read_bulkdata(store: ObjectStore, inst: StoredInstance, path: BulkPath) -> BulkData:
    """The value of an element other than the pixel data (PS3.18 10.4.1.1.5). Raises NotFound."""
    encoded = read_encoded(store, inst)
    code = coding_of(encoded.header, inst)
    node = parse(encoded.header + encoded.trailer, inst, code)
    for tag, index in zip(path[:-1:2], path[1::2], strict=True):
        node = _item(node, int(str(tag), 16), int(index))
    raw = _raw(node, int(str(path[-1]), 16))
    vr = raw.VR or vr_of(int(raw.tag))
    if vr == "SQ":
        raise NotFound("no such bulk data")
    return BulkData(vr, code.value(vr, raw.value or b""))


def _item(node: Dataset, tag: int, index: int) -> Dataset:
    items: Any = node[tag].value if tag in node and node[tag].VR == "SQ" else ()
    if index >= len(items):
        raise NotFound("no such bulk data")
    return items[index]  # type: ignore[no-any-return]


def _raw(node: Dataset, tag: int) -> RawDataElement:
    found = node.get_item(tag, keep_deferred=True) if tag in node else None
    if not isinstance(found, RawDataElement):
        raise NotFound("no such bulk data")
    return found
