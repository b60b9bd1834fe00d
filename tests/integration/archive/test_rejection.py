"""Rejection notes: what they hide, from whom, and how it comes back (IHE RAD TF-2 4.66)."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.cli import main
from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.records import Level, Outcome, Query, Scope
from archive.rejection.causes import View
from archive.standard.file_format import encode_file_meta
from config.settings import Settings
from tests.factories import SOURCE, ct_image, encode, store
from tests.integration.archive.support import assert_sound, sql, studies, value
from tests.rejection_notes import EXPIRED, QUALITY, SAFETY, WORKLIST, note

CLINICAL, QUALITY_VIEW, EVERYTHING = (Scope(view=view) for view in View)


def study_of(count: int, series: int = 1, **attributes: Any) -> list[Dataset]:
    """Images of one study."""
    study, uids = generate_uid(), [generate_uid() for _ in range(series)]
    return [
        ct_image(
            StudyInstanceUID=study,
            SeriesInstanceUID=uids[n % series],
            SeriesNumber=n % series + 1,
            InstanceNumber=n,
            **attributes,
        )
        for n in range(count)
    ]


def seen(archive: Archive, scope: Scope = CLINICAL) -> set[str]:
    """The instances that a search finds; a look at every level must agree."""
    found = archive.search(Query(Level.IMAGE), scope)
    images = {value(match, 0x00080018) for match in found.matches}
    assert found.total == len(found.matches)
    for level, uid in ((Level.STUDY, 0x0020000D), (Level.SERIES, 0x0020000E)):
        result = archive.search(Query(level, include="all"), scope)
        assert {value(match, uid) for match in result.matches} == {value(match, uid) for match in found.matches}
        counts = {Level.STUDY: 0x00201208, Level.SERIES: 0x00201209}
        for match in result.matches:
            inside = [each for each in found.matches if value(each, uid) == value(match, uid)]
            assert value(match, counts[level]) == len(inside)
            if level is Level.STUDY:
                assert value(match, 0x00201206) == len({value(each, 0x0020000E) for each in inside})
    patients = archive.search(Query(Level.PATIENT, include="all"), scope).matches
    assert sum(value(match, 0x00201204) for match in patients) == len(images)
    located = set()
    for match in archive.search(Query(Level.STUDY), scope).matches:
        located |= {inst.sop_instance_uid for inst in archive.locate(value(match, 0x0020000D), scope=scope)}
    assert located == images
    return images


def uids(images: list[Dataset]) -> set[str]:
    return {image.SOPInstanceUID for image in images}


@pytest.mark.parametrize(
    ("code", "in_quality_view"), [(QUALITY, True), (SAFETY, False), (WORKLIST, False)], ids=["quality", "safety", "mwl"]
)
def test_a_note_hides_what_it_names_and_itself(archive: Archive, code: str, in_quality_view: bool) -> None:
    images = study_of(6, series=2)
    for image in images:
        store(archive, image)
    rejected = note(images[:2], code)
    receipt = store(archive, rejected)
    assert (receipt.outcome, receipt.unmet) == (Outcome.STORED, "")
    everything = uids([*images, rejected])
    assert seen(archive) == uids(images[2:])
    assert seen(archive, QUALITY_VIEW) == (everything if in_quality_view else uids(images[2:]))
    assert seen(archive, EVERYTHING) == everything
    assert_sound(archive)
    with pytest.raises(NotFound):
        archive.locate(images[0].StudyInstanceUID, images[0].SeriesInstanceUID, images[0].SOPInstanceUID)


def test_a_study_that_is_rejected_as_a_whole_vanishes_and_comes_back(archive: Archive) -> None:
    images, others = study_of(4, series=2), study_of(1)
    for image in (*images, *others):
        store(archive, image)
    store(archive, rejected := note(images, SAFETY))
    assert seen(archive) == uids(others)
    assert studies(archive, {0x0020000D: images[0].StudyInstanceUID}) == []
    assert sql(archive, "SELECT modalities_in_study FROM study WHERE instance_count = 0") == [[]]
    store(archive, note([rejected], QUALITY))
    assert seen(archive) == uids([*images, *others])
    assert_sound(archive)
    (match,) = studies(archive, {0x0020000D: images[0].StudyInstanceUID})
    assert (value(match, 0x00201208), value(match, 0x00201206), match["00080061"]["Value"]) == (4, 2, ["CT"])


def test_modalities_and_sop_classes_are_those_of_the_view(archive: Archive) -> None:
    (image,) = study_of(1)
    other = ct_image(StudyInstanceUID=image.StudyInstanceUID, Modality="PT", SOPClassUID="1.2.840.10008.5.1.4.1.1.128")
    for each in (image, other):
        store(archive, each)
    store(archive, note([other], QUALITY))

    def found(scope: Scope, keys: dict[int, str]) -> list[Any]:
        matches = archive.search(Query(Level.STUDY, keys, include="all"), scope).matches
        return [(match["00080061"]["Value"], match["00080062"]["Value"]) for match in matches]

    ct, pt, ko = image.SOPClassUID, other.SOPClassUID, "1.2.840.10008.5.1.4.1.1.88.59"
    assert found(CLINICAL, {}) == [(["CT"], [ct])]
    assert found(CLINICAL, {0x00080061: "PT"}) == found(CLINICAL, {0x00080062: pt}) == []
    for scope in (QUALITY_VIEW, EVERYTHING):
        expected = [(["CT", "KO", "PT"], sorted([pt, ct, ko]))]
        assert found(scope, {}) == found(scope, {0x00080061: "P*"}) == found(scope, {0x00080062: pt}) == expected


def test_what_a_note_names_before_it_comes_is_hidden_when_it_comes(archive: Archive) -> None:
    here, later, elsewhere = study_of(2, series=2), study_of(1), study_of(1)
    later[0].StudyInstanceUID = here[0].StudyInstanceUID
    store(archive, here[0])
    store(archive, note([here[1], *later, *elsewhere], SAFETY))
    assert seen(archive) == uids(here[:1])
    for image in (here[1], *later, *elsewhere):
        assert store(archive, image).outcome is Outcome.STORED
        assert store(archive, image).outcome is Outcome.DUPLICATE
    assert seen(archive) == uids(here[:1])
    assert seen(archive, EVERYTHING) >= uids([*here, *later, *elsewhere])
    # Others in the same study and series are not.
    another = ct_image(StudyInstanceUID=elsewhere[0].StudyInstanceUID, SeriesInstanceUID=elsewhere[0].SeriesInstanceUID)
    store(archive, another)
    assert seen(archive) == uids([here[0], another])
    assert_sound(archive)


def test_a_rejected_instance_stays_hidden_when_it_is_sent_again_or_corrected_under_its_uid(archive: Archive) -> None:
    (image,) = study_of(1)
    store(archive, image)
    store(archive, rejected := note([image], WORKLIST))
    assert store(archive, image).outcome is Outcome.DUPLICATE
    image.PatientName = "Khác"
    assert store(archive, image).outcome is Outcome.NEW_VERSION
    assert seen(archive) == set()
    assert_sound(archive)
    corrected = ct_image(StudyInstanceUID=image.StudyInstanceUID, SeriesInstanceUID=image.SeriesInstanceUID)
    store(archive, corrected)
    assert seen(archive) == uids([corrected])
    store(archive, note([rejected]))
    assert seen(archive) == uids([image, corrected])
    assert_sound(archive)


def test_two_notes_on_one_instance_hide_it_until_both_are_undone(archive: Archive) -> None:
    (image,) = study_of(1)
    store(archive, image)
    first, second = note([image], QUALITY), note([image], SAFETY)
    store(archive, first)
    store(archive, second)
    assert image.SOPInstanceUID not in seen(archive, QUALITY_VIEW)
    store(archive, note([second]))
    assert seen(archive) == set()
    assert image.SOPInstanceUID in seen(archive, QUALITY_VIEW)
    store(archive, note([first]))
    assert seen(archive) == uids([image])
    assert_sound(archive)


def test_a_note_that_rejects_a_note_can_be_rejected_in_any_order(archive: Archive) -> None:
    (image,) = study_of(1)
    store(archive, image)
    first = note([image])
    second = note([first])
    third = note([second])
    hidden = []
    for each in (third, second, first):
        store(archive, each)
        hidden.append(image.SOPInstanceUID not in seen(archive))
    # third undoes second, so first holds.
    assert hidden == [False, False, True]
    store(archive, note([third]))
    assert seen(archive) == uids([image])
    assert_sound(archive)


def test_a_note_hides_only_in_studies_of_its_facility(archive: Archive) -> None:
    mine, theirs, later = study_of(1), study_of(1), study_of(1)
    other = replace(SOURCE, facility="86002", calling_ae_title="US2")
    store(archive, mine[0])
    store(archive, theirs[0], other)
    foreign = note([*mine, *theirs, *later], SAFETY)
    assert store(archive, foreign).unmet == "stored; 1 of 3 instances belong to another facility"
    store(archive, later[0], other)
    assert seen(archive) == uids([*theirs, *later])
    # Nor can it undo the note of another.
    store(archive, own := note(theirs, SAFETY), other)
    store(archive, note([own]))
    assert seen(archive) == uids(later)
    assert_sound(archive)


def test_a_sender_with_the_right_rejects_in_the_whole_province_and_one_without_nowhere(settings: Settings) -> None:
    peers = [peer.model_copy(update={"rejects": "province"}) for peer in settings.peers[:1]]
    peers += [peer.model_copy(update={"rejects": "nothing"}) for peer in settings.peers[1:]]
    images = study_of(2)
    with Archive.open(settings.model_copy(update={"peers": tuple(peers)})) as archive:
        other = replace(SOURCE, facility="86002", calling_ae_title="US2")
        for image in images:
            store(archive, image, other)
        unmet = store(archive, note(images), other).unmet
        assert unmet == "stored; a note with title 113001 from this AE rejects nothing"
        assert seen(archive) == uids(images)
        assert store(archive, note(images[:1])).unmet == ""
        assert seen(archive) == uids(images[1:])
        assert_sound(archive)


def test_expiry_is_obeyed_where_the_settings_say_so(settings: Settings) -> None:
    images = study_of(1)
    with Archive.open(settings) as archive:
        store(archive, images[0])
        assert "113039" in store(archive, note(images, EXPIRED)).unmet
        assert seen(archive) == uids(images)
    ingest = settings.ingest.model_copy(update={"expiry_notes": True})
    with Archive.open(settings.model_copy(update={"ingest": ingest})) as archive:
        assert store(archive, note(images, EXPIRED)).unmet == ""
        assert seen(archive) == seen(archive, QUALITY_VIEW) == set()
        assert_sound(archive)


def test_key_images_and_broken_documents_are_objects_like_others(archive: Archive) -> None:
    images = study_of(2)
    for image in images:
        store(archive, image)
    key_images = note(images, "113000")
    empty = note(images)
    del empty.CurrentRequestedProcedureEvidenceSequence
    nonsense = note(images)
    nonsense.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].SeriesInstanceUID = ""
    untitled = note(images)
    del untitled.ConceptNameCodeSequence
    for document in (key_images, empty, nonsense, untitled):
        assert store(archive, document).outcome is Outcome.STORED
    assert seen(archive) == uids([*images, key_images, untitled])
    assert_sound(archive)


def test_a_note_under_the_same_uid_with_other_bytes_says_what_it_says_now(archive: Archive) -> None:
    images = study_of(3)
    for image in images:
        store(archive, image)
    first = note(images[:2])
    second = note(images[1:])
    second.SOPInstanceUID, second.SeriesInstanceUID = first.SOPInstanceUID, first.SeriesInstanceUID
    key_images = note(images, "113000")
    key_images.SOPInstanceUID, key_images.SeriesInstanceUID = first.SOPInstanceUID, first.SeriesInstanceUID
    store(archive, first)
    assert seen(archive) == uids(images[2:])
    store(archive, second)
    assert seen(archive) == uids(images[:1])
    # The former bytes again are no news.
    store(archive, first)
    assert seen(archive) == uids(images[:1])
    store(archive, key_images)
    assert seen(archive) == uids([*images, key_images])
    assert sql(archive, "SELECT count(*) FROM rejection_reference") == [0]
    assert_sound(archive)


def test_a_note_sent_again_changes_nothing(archive: Archive) -> None:
    images = study_of(2)
    for image in images:
        store(archive, image)
    rejected = note(images[:1])
    before = None
    for _ in range(3):
        store(archive, rejected)
        now = sql(archive, "SELECT id, active, applied FROM rejection_note") + sql(
            archive, "SELECT action, subject, who, instances FROM hiding_action"
        )
        assert before in (None, now)
        before = now
    assert before is not None
    assert before[1] == ("note received", rejected.SOPInstanceUID, "CT1@", 1)
    assert_sound(archive)


@pytest.mark.parametrize("die_at", ["take", "settle"])
def test_what_a_crash_left_undone_is_done_by_reconcile(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, die_at: str
) -> None:
    images = study_of(2)
    for image in images:
        store(archive, image)

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    rejected = note(images[:1])
    with monkeypatch.context() as patched:
        if die_at == "take":
            patched.setattr(archive._ingest, "_on_key_object", die)
        else:
            patched.setattr("archive.rejection.notes.settle", die)
        with pytest.raises(Died):
            store(archive, rejected)
    assert seen(archive) == uids(images)
    assert archive.reconcile().notes == 1
    assert seen(archive) == uids(images[1:])
    assert archive.reconcile().notes == 0
    assert_sound(archive)


def test_a_note_of_many_instances_is_one_transaction(archive: Archive) -> None:
    images = study_of(1)
    store(archive, images[0])
    numbers = count(1)
    many = [
        Dataset.from_json(
            {
                "0020000D": {"vr": "UI", "Value": [images[0].StudyInstanceUID]},
                "0020000E": {"vr": "UI", "Value": [images[0].SeriesInstanceUID]},
                "00080016": {"vr": "UI", "Value": [images[0].SOPClassUID]},
                "00080018": {"vr": "UI", "Value": [f"2.25.{next(numbers)}"]},
            }
        )
        for _ in range(5000)
    ]
    store(archive, note([*images, *many]))
    assert seen(archive) == set()
    assert sql(archive, "SELECT count(*) FROM rejection_reference") == [5001]


def test_a_person_rejects_and_undoes_without_a_modality(archive: Archive) -> None:
    images = study_of(4, series=2)
    for image in images:
        store(archive, image)
    study = images[0].StudyInstanceUID
    receipt = archive.rejections.reject(
        study, series=images[0].SeriesInstanceUID, code=SAFETY, who="BS Trần Thị Lan", why="sai bên"
    )
    kept = [image for image in images if image.SeriesInstanceUID != images[0].SeriesInstanceUID]
    assert seen(archive) == uids(kept)
    (listed,) = archive.rejections.notes()
    assert (listed.uid, listed.hidden, listed.here, listed.named) == (receipt.sop_instance_uid, 2, 2, 2)
    assert (listed.active, listed.why, listed.facility) == (True, "sai bên", "86001")
    # It is of the same patient and study, and a document that others can read.
    (match,) = archive.search(Query(Level.STUDY, {0x0020000D: study}), EVERYTHING).matches
    assert (value(match, 0x00201208), value(match, 0x00100020)) == (5, "BN0001")
    undo = archive.rejections.undo(receipt.sop_instance_uid, who="BS Lan", why="nhầm")
    assert seen(archive) == uids(images)
    details = archive.rejections.show(receipt.sop_instance_uid)
    assert not details.note.active
    assert [(each["action"], each["who"], each["why"]) for each in details.actions] == [
        ("note received", "PACS@", "sai bên"),
        ("rejected", "BS Trần Thị Lan", "sai bên"),
        ("undone", "BS Lan", "nhầm"),
    ]
    with pytest.raises(NotFound):
        archive.rejections.undo(receipt.sop_instance_uid, who="", why="")
    # The undoing can be undone.
    archive.rejections.undo(undo.sop_instance_uid, who="", why="")
    assert seen(archive) == uids(kept)
    assert_sound(archive)


def test_a_rejection_that_cannot_be_made_is_refused(archive: Archive) -> None:
    (image,) = study_of(1)
    store(archive, image)
    with pytest.raises(InvalidQuery):
        archive.rejections.reject(image.StudyInstanceUID, code="113000", who="", why="")
    with pytest.raises(InvalidQuery):
        archive.rejections.reject(image.StudyInstanceUID, code=SAFETY, who="", why="x" * 1025)
    for study, instances in (("1.2.3", None), (image.StudyInstanceUID, ["1.2.3", image.SOPInstanceUID])):
        with pytest.raises(NotFound):
            archive.rejections.reject(study, code=SAFETY, who="", why="", instances=instances)
    with pytest.raises(NotFound):
        archive.rejections.show("1.2.3")
    assert seen(archive) == uids([image])


def test_a_note_whose_row_a_crash_prevented_is_adopted_and_takes_effect(archive: Archive) -> None:
    images = study_of(2)
    for image in images:
        store(archive, image)
    document = note(images[:1], SAFETY)
    sql(archive, "INSERT INTO key_block (prefix, size, writer) VALUES ('2026/01/01/dead', 4, 17)")
    meta = encode_file_meta(document.SOPClassUID, document.SOPInstanceUID, "1.2.840.10008.1.2.1", "CT1")
    with archive.store.create("2026/01/01/dead/000") as writer:
        writer.write(meta + encode(document))
        writer.commit()
    repairs = archive.reconcile()
    assert (repairs.adopted, repairs.notes) == (1, 1)
    assert seen(archive) == uids(images[1:])
    assert_sound(archive)


def test_rejected_studies_are_no_empty_ones(archive: Archive) -> None:
    images = study_of(2)
    for image in images:
        store(archive, image)
    store(archive, rejected := note(images, SAFETY))
    for table in ("patient", "study", "series"):
        sql(archive, f"UPDATE {table} SET created_at = now() - interval '25 hours'")
    assert archive.reconcile().empty == 0
    store(archive, note([rejected]))
    assert seen(archive) == uids(images)
    assert_sound(archive)


def test_the_commands_tell_undo_and_release(
    settings: Settings, archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("archive.cli.load", lambda: settings)
    images, strange = study_of(2), study_of(1)
    for image in images:
        store(archive, image)
    stranger = replace(SOURCE, facility="UNKNOWN", calling_ae_title="WHO", address="10.1.2.3", quarantined=True)
    store(archive, strange[0], stranger)

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    said = ("--who", "BS Lan", "--why", "sai")
    study = images[0].StudyInstanceUID
    uid = run("rejections", "reject", study, "--instance", images[0].SOPInstanceUID, "--code", SAFETY, *said).split()[
        -1
    ]
    assert seen(archive) == uids(images[1:])
    assert uid in run("rejections", "list", "--study", study) and "holds" in run("rejections", "list")
    shown = run("rejections", "show", uid)
    assert f"{images[0].SOPInstanceUID}  safety" in shown and "rejected by BS Lan: sai" in shown
    run("rejections", "undo", uid, *said)
    assert seen(archive) == uids(images)
    assert "undone" in run("rejections", "list")
    assert "WHO@10.1.2.3" in run("quarantine", "list")
    assert "released: 1 objects" in run("quarantine", "release", "WHO@10.1.2.3", "--facility", "86002", *said)
    assert seen(archive) == uids([*images, *strange])
    assert main(["quarantine", "discard", "WHO@10.1.2.3"]) == 1
    assert main(["rejections", "undo", "1.2.3"]) == 1
    assert "no such rejection note" in capsys.readouterr().err
