"""Writes de-identified copies of studies as Part 10 files, with a manifest that names no original.

The header is what the archive gives, corrected, then de-identified; pixel data are copied as they are stored, or the
object is refused. What stands behind the pixel data (signatures, padding) is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from archive.correction.outgoing import deflated
from archive.deidentify.dataset import Deidentifier
from archive.deidentify.pixels import refusal
from archive.deidentify.project import Patient, Project
from archive.deidentify.table import BASIC_PROFILE, Option
from archive.errors import ArchiveError
from archive.records import StoredInstance
from archive.retrieve import Encoded, coding_of, dataset_reader, parse, read_corrected, read_range, syntax_of
from archive.standard.file_format import encode_file_meta
from storage.base import CHUNK_SIZE, ObjectStore


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written."""

    file: str
    sop_class_uid: str
    sop_instance_uid: str
    size: int
    sha256: str


@dataclass(slots=True)
class Exported:
    """What became of a study. All names are those of the project."""

    patients: list[str] = field(default_factory=list)
    study_instance_uid: str = ""
    instances: list[Written] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)


class Exporter:
    """Exports studies for one project into one folder."""

    def __init__(
        self, store: ObjectStore, project: Project, options: frozenset[Option], folder: Path, *, checked_by: str = ""
    ) -> None:
        """`checked_by` names who has looked at the pixels of objects that do not say what is in them."""
        self._store = store
        self._project = project
        self._options = options
        self._folder = folder
        self._checked_by = checked_by

    def study(self, instances: Iterable[StoredInstance]) -> Exported:
        """Export the instances of a study. Raises `Unavailable`, `OSError`."""
        done = Exported()
        for inst in instances:
            done.study_instance_uid = self._project.uid(inst.study_instance_uid)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of pydicom, about values; its texts quote them
                    outcome = self._instance(inst, done)
            except ArchiveError as error:
                outcome = f"it cannot be given: {type(error).__name__}"
            if isinstance(outcome, str):
                done.refused.append({"sop_instance_uid": self._project.uid(inst.sop_instance_uid), "reason": outcome})
            else:
                done.instances.append(outcome)
        return done

    def manifest(self, studies: list[Exported]) -> Path:
        """Write what was exported, how, and what was not, and why."""
        said: dict[str, Any] = {
            "project": self._project.name,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "profile": [
                " ".join(BASIC_PROFILE),
                *(f"{option.code} {option.meaning}" for option in sorted_options(self._options)),
            ],
            "pixels_checked_by": self._checked_by,
            "studies": [asdict(study) for study in studies],
        }
        path = self._folder / f"manifest-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.json"
        _replace(path, [json.dumps(said, indent=1, ensure_ascii=False).encode()])
        return path

    def _instance(self, inst: StoredInstance, done: Exported) -> Written | str:
        """Write one instance; why not, if it may not be given out."""
        encoded = read_corrected(self._store, inst)
        dataset = parse(encoded.header, inst)
        reason = refusal(
            dataset, inst.sop_class_uid, has_pixels=bool(encoded.pixel_header), checked=bool(self._checked_by)
        )
        if reason:
            return reason
        patient = self._patient(dataset, inst)
        Deidentifier(self._project, patient, self._options).apply(dataset)
        uid = self._project.uid(inst.sop_instance_uid)
        if str(dataset.get("SOPInstanceUID", "")) != uid or str(dataset.get("SOPClassUID", "")) != inst.sop_class_uid:
            return "its UIDs cannot be read"
        series = self._project.uid(inst.series_instance_uid)
        name = Path(patient.pseudonym, done.study_instance_uid, series, f"{uid}.dcm")
        meta = encode_file_meta(inst.sop_class_uid, uid, inst.object.transfer_syntax_uid, "")
        body = self._body(inst, encoded, dataset)
        if syntax_of(inst).deflated:
            body = deflated(body)
        size, digest = _replace(self._folder / name, _after(meta, body))
        if patient.pseudonym not in done.patients:
            done.patients.append(patient.pseudonym)
        return Written(str(name), inst.sop_class_uid, uid, size, digest)

    def _patient(self, dataset: Dataset, inst: StoredInstance) -> Patient:
        """Who it is of; without a number, each study is of a patient of its own."""
        number = str(dataset.get("PatientID") or "").strip(" \0")
        issuer = str(dataset.get("IssuerOfPatientID") or "").strip(" \0")
        return self._project.patient(issuer if number else "study", number or inst.study_instance_uid)

    def _body(self, inst: StoredInstance, encoded: Encoded, dataset: Dataset) -> Generator[bytes, None, None]:
        yield _encode(dataset, encoded, inst)
        if not encoded.pixel_header:
            return
        begin, end = inst.object.header_length, inst.object.trailer_offset
        if not syntax_of(inst).deflated:
            end = inst.object.size - inst.object.dataset_offset if end is None else end
            yield from read_range(self._store, inst, begin, end - begin)
            return
        with dataset_reader(self._store, inst) as read:
            while end is None or begin < end:
                chunk = read(begin, CHUNK_SIZE if end is None else min(CHUNK_SIZE, end - begin))
                if not chunk:
                    return
                begin += len(chunk)
                yield chunk


def sorted_options(options: frozenset[Option]) -> list[Option]:
    """In a fixed order."""
    return [option for option in Option if option in options]


def _encode(dataset: Dataset, encoded: Encoded, inst: StoredInstance) -> bytes:
    code = coding_of(encoded.header, inst)
    buffer = DicomBytesIO()
    buffer.is_little_endian = code.little
    buffer.is_implicit_VR = code.implicit
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _after(head: bytes, body: Iterable[bytes]) -> Generator[bytes, None, None]:
    yield head
    yield from body


def _replace(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a file whole or not at all; its size and SHA-256."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with unfinished.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return size, digest.hexdigest()
