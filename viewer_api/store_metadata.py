"""A STOW-RS request of metadata and bulk data, put together to instances (PS3.18 8.6.1.2, 10.5.1.1.2).

In the DICOM JSON model, the first part is the metadata: one dataset or a list of them. In XML (Native DICOM Model),
each part of that type is the metadata of one instance. Every other part is a value that they name by its address
(Content-Location). Values wait in files; nothing is stored before the request is whole.
"""

from __future__ import annotations

import logging
from email.message import Message
from typing import Any, Final

import orjson

from archive.core import Archive
from archive.errors import ArchiveError, CannotParse, SOPClassMismatch, UnsupportedTransferSyntax
from archive.private_file import PrivateFile
from archive.records import Source
from archive.standard.assemble import EXPLICIT_VR_LITTLE_ENDIAN, PIXEL_DATA, Bulk, assemble
from archive.standard.json_model import JSONDataset
from archive.standard.uids import is_uid, transfer_syntax
from archive.standard.xml_reader import read_native_xml
from config.logs import fields
from viewer_api.described import describe_bulk, jpeg_syntax
from viewer_api.media_types import DICOM_JSON, DICOM_XML, JPEG, JSON, OCTET_STREAM, SYNTAXES_OF, canonical
from viewer_api.metrics import Metrics
from viewer_api.middleware import log_failure
from viewer_api.store_report import StoreReport

log = logging.getLogger(__name__)

_LONGEST_METADATA: Final = 64 << 20
_IN_MEMORY: Final = 1 << 20
_MOST_PARTS: Final = 100_000
_STUDY: Final = "0020000D"
_SOP_CLASS: Final = "00080016"
_SOP_INSTANCE: Final = "00080018"
_AVAILABLE_SYNTAX: Final = "00083002"


class MetadataSession:
    """Takes the parts as `MultipartReader` finds them; `report` says what became of the instances."""

    def __init__(self, archive: Archive, source: Source, study: str | None, metrics: Metrics, form: str) -> None:
        """`form` is the media type of the metadata."""
        self.report = StoreReport()
        self._form = form
        self._archive = archive
        self._source = source
        self._study = study
        self._metrics = metrics
        self._metadata: list[bytearray] = []
        self._length = 0
        """Bytes of all metadata."""
        self._bulk: dict[str, Bulk] = {}
        self._part: tuple[str, str, int] | None = None
        """Address, Content-Type, and offset in the file of the part that is being read."""
        # Of all parts together, so that many of them need neither much memory nor many descriptors.
        self._file = PrivateFile(_IN_MEMORY, archive.settings.spool_dir)

    def begin(self, headers: dict[str, str]) -> None:
        """A part begins."""
        if len(self._bulk) + len(self._metadata) >= _MOST_PARTS:
            raise CannotParse(f"there are more than {_MOST_PARTS} parts")
        media_type = canonical(headers.get("content-type", "").partition(";")[0])
        if not self._metadata or (self._form == media_type == DICOM_XML):
            self._metadata.append(bytearray())
            return
        location = headers.get("content-location", "").strip()
        if not location:
            raise CannotParse("a part with bulk data has no Content-Location")
        self._part = (location, headers.get("content-type", ""), self._file.tell())

    def data(self, buffer: memoryview) -> None:
        """The next bytes of the part."""
        if self._part is not None:
            self._file.write(buffer)
            return
        self._metadata[-1] += buffer
        self._length += len(buffer)
        if self._length > _LONGEST_METADATA:
            raise CannotParse(f"the metadata are longer than {_LONGEST_METADATA} bytes")

    def end(self) -> None:
        """The part is complete."""
        if self._part is not None:
            (location, content_type, offset), self._part = self._part, None
            self._bulk[location] = _bulk(self._file, offset, content_type)

    def cut(self, error: CannotParse) -> None:
        """The part was cut off, and with it the request: nothing of it is stored."""
        raise error

    def abandon(self) -> None:
        """The request is over: let go of all files."""
        self._file.close()

    def close(self) -> None:
        """The request is whole: store the instances, one after the other."""
        try:
            if self._form == DICOM_XML:
                self._store_documents()
                return
            for dataset in _datasets(bytes(self._metadata[0]) if self._metadata else b""):
                self._store(dataset)
        finally:
            self.abandon()

    def _store_documents(self) -> None:
        """Each document is an instance of its own, so one that cannot be read says nothing against the others."""
        for document in self._metadata:
            try:
                dataset = read_native_xml(bytes(document))
            except CannotParse as error:
                self._failed(error, ["", ""])
            else:
                self._store(dataset)

    def _store(self, dataset: JSONDataset) -> None:
        uids = [_uid(dataset, key) for key in (_SOP_CLASS, _SOP_INSTANCE)]
        try:
            receipt = self._ingest(dataset)
        except ArchiveError as error:
            self._failed(error, uids)
        except Exception as error:
            log_failure("storing an instance failed", error)
            self._failed(ArchiveError("the instance could not be processed"), uids)
        else:
            self._metrics.stored(receipt.outcome.value, receipt.size)
            self.report.stored(receipt, tolerated=bool(receipt.warnings))

    def _ingest(self, dataset: JSONDataset) -> Any:
        if self._study is not None and _uid(dataset, _STUDY) != self._study:
            raise SOPClassMismatch("StudyInstanceUID is not the one of the request")
        dataset, syntax = self._completed(dataset)
        with self._archive.begin(
            self._source,
            # Not empty, so that ingest checks them: metadata without a name are no instance.
            sop_class_uid=_uid(dataset, _SOP_CLASS) or " ",
            sop_instance_uid=_uid(dataset, _SOP_INSTANCE) or " ",
            transfer_syntax_uid=syntax,
        ) as receiving:
            for piece in assemble(dataset, self._find):
                receiving.write(piece)
            return receiving.finish()

    def _completed(self, dataset: JSONDataset) -> tuple[JSONDataset, str]:
        """The dataset with what its bulk data tell of themselves, and the transfer syntax that it is to have."""
        dataset = {key: element for key, element in dataset.items() if key != _AVAILABLE_SYNTAX}
        syntax = EXPLICIT_VR_LITTLE_ENDIAN
        for key in [key for key, element in dataset.items() if isinstance(element, dict) and "BulkDataURI" in element]:
            location = str(dataset[key]["BulkDataURI"])
            bulk = self._find(location)
            dataset = describe_bulk(dataset, key, bulk)
            if key == PIXEL_DATA and bulk.media_type != OCTET_STREAM:
                known = transfer_syntax(bulk.transfer_syntax_uid)
                if known is None or not known.encapsulated:
                    raise UnsupportedTransferSyntax("the pixel data are compressed in a way that DICOM does not know")
                syntax = known.uid
        return dataset, syntax

    def _find(self, uri: str) -> Bulk:
        try:
            return self._bulk[uri]
        except KeyError:
            raise CannotParse("no part has the Content-Location of the bulk data named") from None

    def _failed(self, error: ArchiveError, uids: list[str]) -> None:
        self._metrics.stored("refused")
        sop_class, instance = (uid if is_uid(uid) else "" for uid in uids)
        facts = fields(instance=instance, sop_class=sop_class, reason=type(error).__name__)
        log.warning("instance not stored", extra=facts)
        self.report.failed(error, sop_class, instance)


def _bulk(file: PrivateFile, offset: int, content_type: str) -> Bulk:
    """The bytes behind `offset`, of this media type, and of the transfer syntax that it names or stands for."""
    header = Message()
    header["content-type"] = content_type or OCTET_STREAM
    media_type = canonical(header.get_content_type()) or OCTET_STREAM
    syntax = str(header.get_param("transfer-syntax") or "")
    end = file.tell()
    if media_type == JPEG and not syntax:
        # PS3.18 Table 8.7.3-5 would have it lossless. A camera's picture is not, and the stream says so.
        syntax = jpeg_syntax(Bulk(file, offset, end - offset))
        file.seek(end)
    elif not syntax:
        syntax = SYNTAXES_OF.get(media_type, ("",))[0]
    return Bulk(file, offset, end - offset, media_type, syntax)


def _datasets(text: bytes) -> list[JSONDataset]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CannotParse(f"the metadata are no JSON: {error.msg} at character {error.pos}") from None
    found = found if isinstance(found, list) else [found]
    if not found or not all(isinstance(each, dict) for each in found):
        raise CannotParse(f"the metadata are no datasets in the DICOM JSON model ({DICOM_JSON} or {JSON})")
    return found


def _uid(dataset: JSONDataset, key: str) -> str:
    element = dataset.get(key)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0].strip(" \0") if isinstance(values, list) and values and isinstance(values[0], str) else ""
