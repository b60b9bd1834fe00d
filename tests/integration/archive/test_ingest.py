"""The one way in: what becomes of an object that is new, sent again, changed, or lost by the store."""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from archive.core import Archive
from archive.digest import BESIDE_FROM, THREAD
from archive.errors import CannotParse, ConflictingDuplicate, InvalidUID, NotFound, ObjectTooLarge, SOPClassMismatch
from archive.records import Level, Outcome, Query, Scope, Source
from config.settings import Settings
from tests.factories import SOURCE, ct_image, encode, store, store_bytes
from tests.integration.archive.support import assert_sound, sql, stored_keys, studies, unchecked, value

OTHER = Source(facility="86002", issuer_of_patient_id="86002", transport="dimse", calling_ae_title="US2")


def test_a_stored_object_is_found(archive: Archive) -> None:
    image = ct_image()
    assert store(archive, image).outcome is Outcome.STORED
    found = archive.search(Query(Level.STUDY, {0x00100010: "nguyen van duc"}))
    assert [match["0020000D"]["Value"] for match in found.matches] == [[image.StudyInstanceUID]]
    assert found.matches[0]["00100010"]["Value"] == [{"Alphabetic": "Nguyễn^Văn Đức"}]
    assert found.total == 1
    assert found.owners == ["86001"]
    (instance,) = archive.locate(image.StudyInstanceUID)
    assert instance.sop_instance_uid == image.SOPInstanceUID
    assert_sound(archive)


def test_the_same_bytes_again_are_a_duplicate_and_leave_nothing(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    before = stored_keys(archive)
    for source in (SOURCE, OTHER):
        assert store(archive, image, source).outcome is Outcome.DUPLICATE
    assert stored_keys(archive) == before
    assert_sound(archive)


def test_other_bytes_from_the_same_facility_are_shown_and_the_first_is_kept(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    image.ImageComments = "changed by the gateway"
    image.InstanceNumber = 7
    assert store(archive, image).outcome is Outcome.NEW_VERSION
    (shown,) = archive.locate(image.StudyInstanceUID)
    assert shown.version == 2
    with archive.store.open(shown.object.key) as reader:
        assert reader.read().endswith(encode(image))
    assert sql(archive, "SELECT version, current FROM stored_object ORDER BY version") == [(1, False), (2, True)]
    assert sql(archive, "SELECT instance_number FROM instance") == [7]
    assert sql(archive, "SELECT warnings FROM stored_object ORDER BY version")[1]
    assert_sound(archive)


def test_other_bytes_from_another_facility_are_kept_but_not_shown(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    image.ImageComments = "from elsewhere"
    assert store(archive, image, OTHER).outcome is Outcome.HELD_VERSION
    assert archive.locate(image.StudyInstanceUID)[0].version == 1
    assert store(archive, image, OTHER).outcome is Outcome.DUPLICATE
    image.ImageComments = "and again at home"
    assert store(archive, image).outcome is Outcome.NEW_VERSION
    assert archive.locate(image.StudyInstanceUID)[0].version == 3
    assert_sound(archive)


def test_a_version_of_another_class_recounts_the_classes_of_the_study(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    image.SOPClassUID = MRImageStorage
    assert store(archive, image).outcome is Outcome.NEW_VERSION
    assert sql(archive, "SELECT sop_classes_in_study FROM study") == [[MRImageStorage]]
    assert_sound(archive)


def test_policy_reject_refuses_other_bytes_and_keeps_nothing(settings: Settings) -> None:
    strict = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"conflict": "reject"})})
    with Archive.open(strict) as archive:
        image = ct_image()
        store(archive, image)
        before = stored_keys(archive)
        changed = ct_image(SOPInstanceUID=image.SOPInstanceUID, StudyInstanceUID=image.StudyInstanceUID)
        changed.SeriesInstanceUID = image.SeriesInstanceUID
        changed.ImageComments = "other"
        with pytest.raises(ConflictingDuplicate):
            store(archive, changed)
        assert store(archive, image).outcome is Outcome.DUPLICATE
        assert stored_keys(archive) == before
        assert_sound(archive)


def _file(settings: Settings, archive: Archive) -> Path:
    (key,) = sql(archive, "SELECT key FROM stored_object")
    return settings.objects_dir / key


def test_a_lost_object_is_repaired_by_sending_it_again(settings: Settings, archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    _file(settings, archive).unlink()
    # Another title makes the file meta information, and so the size, another.
    longer = replace(SOURCE, calling_ae_title="A_LONGER_TITLE")
    assert store(archive, image, longer).outcome is Outcome.REPAIRED
    assert_sound(archive)
    assert store(archive, image).outcome is Outcome.DUPLICATE


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_object_is_replaced_by_sending_it_again(settings: Settings, archive: Archive, damage: str) -> None:
    image = ct_image()
    store(archive, image)
    path = _file(settings, archive)
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:-10] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
    repairs = archive.reconcile()
    archive.verify(repairs, content=True)
    assert (repairs.checked, repairs.corrupt, repairs.missing) == (1, 1, 0)
    assert store(archive, image).outcome is Outcome.REPAIRED
    assert not path.exists()
    assert_sound(archive)
    archive.verify(again := archive.reconcile(), content=True)
    assert (again.corrupt, again.missing) == (0, 0)


def test_many_resend_a_lost_object_at_once(settings: Settings, archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    _file(settings, archive).unlink()
    outcomes: list[Outcome | str] = []
    barrier = threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        try:
            outcomes.append(store(archive, image).outcome)
        except Exception as error:  # told to send again, because another did it at the same moment
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Outcome.REPAIRED) == 1
    assert set(outcomes) <= {Outcome.REPAIRED, Outcome.DUPLICATE, "StaleKey"}
    assert store(archive, image).outcome is Outcome.DUPLICATE
    assert_sound(archive)


def test_the_same_instance_in_another_series_is_kept_in_both(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    first = image.SeriesInstanceUID
    image.SeriesInstanceUID = generate_uid()
    assert store(archive, image).outcome is Outcome.STORED
    assert len(archive.locate(image.StudyInstanceUID)) == 2
    for series in (first, image.SeriesInstanceUID):
        assert len(archive.locate(image.StudyInstanceUID, series, image.SOPInstanceUID)) == 1
    assert_sound(archive)


def test_no_two_objects_share_a_key(archive: Archive) -> None:
    series = generate_uid()
    study = generate_uid()
    for _ in range(20):
        store(archive, ct_image(StudyInstanceUID=study, SeriesInstanceUID=series))
    keys = sql(archive, "SELECT key FROM stored_object")
    assert len(set(keys)) == 20
    assert len({key.rpartition("/")[0] for key in keys}) == 1
    assert_sound(archive)


def test_objects_without_patient_id_do_not_merge(archive: Archive) -> None:
    for patient_id in (None, "", " "):
        store(archive, ct_image(PatientID=patient_id))
    # Nor with a patient whose ID is what such a study is called inside.
    impostor = ct_image(PatientID="", StudyInstanceUID="1.2.3.4")
    store(archive, impostor)
    store(archive, ct_image(PatientID=f"study {impostor.StudyInstanceUID}"))
    assert sql(archive, "SELECT count(*) FROM patient") == [5]
    assert len(archive.search(Query(Level.PATIENT)).matches) == 5


def test_the_same_patient_id_of_two_facilities_is_two_patients(archive: Archive) -> None:
    store(archive, ct_image())
    store(archive, ct_image())
    store(archive, ct_image(), OTHER)
    store(archive, ct_image(IssuerOfPatientID="BHYT"))
    store(archive, ct_image(IssuerOfPatientID="BHYT"), OTHER)
    assert sql(archive, "SELECT issuer FROM patient ORDER BY 1") == ["86001", "86002", "BHYT"]
    assert len(studies(archive, {0x00100020: "BN0001", 0x00100021: "86001"})) == 2
    assert len(studies(archive, {0x00100020: "BN0001"})) == 5


def test_a_study_for_two_patients_stays_with_the_first_and_says_so(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    wrong = ct_image(StudyInstanceUID=image.StudyInstanceUID, PatientID="BN0002", PatientName="Trần^Thị Bé")
    assert store(archive, wrong).outcome is Outcome.STORED
    (match,) = studies(archive)
    assert (value(match, 0x00100020), value(match, 0x00201208)) == ("BN0001", 2)
    assert sql(archive, "SELECT warnings FROM stored_object ORDER BY id") == [
        None,
        ["the study was first received for another patient"],
    ]
    assert len(archive.search(Query(Level.PATIENT)).matches) == 1
    assert_sound(archive)


def test_later_series_fill_what_the_first_left_empty_and_change_nothing(archive: Archive) -> None:
    bare = ct_image(PatientBirthDate="", PatientSex=None, StudyDescription="", AccessionNumber="", StudyTime="")
    store(archive, bare)
    fuller = ct_image(
        StudyInstanceUID=bare.StudyInstanceUID, PatientName="Someone^Else", StudyDate="20200101", PatientComments="x"
    )
    store(archive, fuller)
    (match,) = studies(archive, include=frozenset({0x00104000}))
    assert value(match, 0x00100010) == {"Alphabetic": "Nguyễn^Văn Đức"}
    assert value(match, 0x00080020) == "20261101"
    found = [value(match, tag) for tag in (0x00100030, 0x00100040, 0x00081030, 0x00080050, 0x00080030, 0x00104000)]
    assert found == ["19620512", "M", "CT sọ não", "A1", "083015", "x"]
    assert len(studies(archive, {0x00080050: "A1", 0x00080030: "083015", 0x00100030: "19620512"})) == 1


@pytest.mark.parametrize("seed", range(3))
def test_counters_equal_a_recount_after_random_sequences_of_eight_threads(archive: Archive, seed: int) -> None:
    chance = random.Random(seed)
    studies_, series = [generate_uid() for _ in range(3)], [generate_uid() for _ in range(4)]
    modality = {uid: chance.choice(["CT", "MR", "", "SR"]) for uid in series}
    objects = []
    for _ in range(40):
        chosen = chance.choice(series)
        image = ct_image(StudyInstanceUID=chance.choice(studies_), SeriesInstanceUID=chosen, Modality=modality[chosen])
        image.SOPClassUID = chance.choice([image.SOPClassUID, MRImageStorage, SecondaryCaptureImageStorage])
        for again in range(chance.choice([1, 1, 2, 3])):
            if chance.random() < 0.5:
                image.ImageComments = "v" * chance.randrange(20)
            source = chance.choice([SOURCE, SOURCE, OTHER])
            objects.append((encode(image), image.SOPClassUID, image.SOPInstanceUID, source, again))
    chance.shuffle(objects)
    errors: list[BaseException] = []

    def send(mine: list[tuple[bytes, str, str, Source, int]]) -> None:
        for data, sop_class, instance, source, _ in mine:
            try:
                store_bytes(archive, data, sop_class, instance, source=source)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=send, args=(objects[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert_sound(archive)
    archive.close()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.keyword
)
@pytest.mark.parametrize("announced", [True, False])
def test_every_encoding_gives_the_same_index(archive: Archive, syntax: str, announced: bool) -> None:
    image = ct_image()
    data = encode(image, ImplicitVRLittleEndian if syntax == ImplicitVRLittleEndian else "1.2.840.10008.1.2.1")
    if syntax == ExplicitVRBigEndian:
        data = encode(image, ExplicitVRBigEndian)
    if syntax == DeflatedExplicitVRLittleEndian:
        import zlib

        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    names = (image.SOPClassUID, image.SOPInstanceUID) if announced else ("", "")
    receipt = store_bytes(archive, data, *names, transfer_syntax_uid=syntax)
    assert (receipt.sop_class_uid, receipt.sop_instance_uid) == (image.SOPClassUID, image.SOPInstanceUID)
    (match,) = studies(archive, {0x00100020: "BN0001"})
    assert value(match, 0x00100010) == {"Alphabetic": "Nguyễn^Văn Đức"}
    assert sql(archive, "SELECT rows, columns, bits_allocated, number_of_frames FROM instance") == [(16, 16, 16, 1)]
    assert_sound(archive)


def test_what_cannot_be_taken_leaves_nothing(settings: Settings, archive: Archive) -> None:
    image = ct_image()
    data = encode(image)
    names = (image.SOPClassUID, image.SOPInstanceUID)
    with unchecked():
        outside = encode(ct_image(SeriesInstanceUID="1.2." + "3" * 65))
    for error, payload, announced in (
        (CannotParse, b"", names),
        (CannotParse, data[:-100], names),
        (CannotParse, b"GET / HTTP/1.1\r\n\r\n" * 40, names),
        (SOPClassMismatch, data, (MRImageStorage, image.SOPInstanceUID)),
        (SOPClassMismatch, data, (image.SOPClassUID, "1.2.3")),
        (InvalidUID, encode(ct_image(StudyInstanceUID=None)), ("", "")),
        (InvalidUID, outside, ("", "")),
        (InvalidUID, data, (image.SOPClassUID, "../../etc/passwd")),
        (InvalidUID, b"", ("", "")),
    ):
        with pytest.raises(error):
            store_bytes(archive, payload, *announced)
    assert not stored_keys(archive)
    with pytest.raises(NotFound):
        archive.locate(image.StudyInstanceUID)
    assert not [path for path in settings.objects_dir.rglob("*") if path.is_file()]


def test_an_object_larger_than_allowed_is_refused_on_the_way(settings: Settings) -> None:
    small = settings.model_copy(update={"node": settings.node.model_copy(update={"maximum_object_bytes": 1 << 20})})
    with Archive.open(small) as archive:
        image = ct_image(rows=1024, columns=1024)
        with pytest.raises(ObjectTooLarge):
            store(archive, image)
        assert not stored_keys(archive)


def test_an_abandoned_object_leaves_nothing(archive: Archive) -> None:
    image = ct_image()
    with archive.begin(
        SOURCE,
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    ) as receiving:
        receiving.write(encode(image)[:200])
    receiving.abort()
    assert not stored_keys(archive)
    archive.close()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]


def test_a_large_object_that_is_abandoned_or_refused_leaves_no_thread(settings: Settings) -> None:
    limited = settings.node.model_copy(update={"maximum_object_bytes": 3 * BESIDE_FROM})
    image = ct_image()
    with Archive.open(settings.model_copy(update={"node": limited})) as archive:
        for size, error in ((2 * BESIDE_FROM, InterruptedError), (4 * BESIDE_FROM, ObjectTooLarge)):
            with (
                pytest.raises(error),
                archive.begin(
                    SOURCE,
                    sop_class_uid=image.SOPClassUID,
                    sop_instance_uid=image.SOPInstanceUID,
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                ) as receiving,
            ):
                for _ in range(0, size, 1 << 20):
                    receiving.write(bytes(1 << 20))
                raise InterruptedError
            assert not [thread for thread in threading.enumerate() if thread.name == THREAD]
        assert not stored_keys(archive)


def test_the_digest_of_a_large_object_is_that_of_its_bytes(archive: Archive) -> None:
    image = ct_image(rows=2048, columns=2048)
    payload = encode(image)
    assert len(payload) > BESIDE_FROM
    receipt = store_bytes(archive, payload, image.SOPClassUID, image.SOPInstanceUID)
    assert receipt.outcome is Outcome.STORED
    assert sql(archive, "SELECT digest FROM stored_object") == [hashlib.sha256(payload).digest()]


def test_a_scope_hides_the_studies_of_others(archive: Archive) -> None:
    mine, theirs = ct_image(), ct_image()
    store(archive, mine)
    store(archive, theirs, OTHER)
    scope = Scope(frozenset({"86002"}))
    for level in Level:
        assert len(archive.search(Query(level), scope).matches) == 1
        assert not archive.search(Query(level), Scope(frozenset())).matches
    with pytest.raises(NotFound):
        archive.locate(mine.StudyInstanceUID, scope=scope)
    assert archive.locate(theirs.StudyInstanceUID, scope=scope)
