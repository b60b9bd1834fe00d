"""Notes, instances, versions and undoing at the same time, from several threads and two processes' worth of archives."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from hypothesis.strategies import booleans, integers, sampled_from, sets
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.errors import NotFound
from archive.records import Level, Outcome, Query
from archive.rejection.apply import active_notes
from archive.rejection.quarantine import Decision
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import assert_sound, sql, together, value
from tests.integration.archive.test_quarantine import STRANGER
from tests.integration.archive.test_rejection import EVERYTHING, seen, study_of, uids
from tests.rejection_notes import SAFETY, note

THREADS = 8


@contextmanager
def two(archive_settings: Settings) -> Iterator[tuple[Archive, Archive]]:
    """Two archives on one index, as two node processes have them."""
    with Archive.open(archive_settings) as first, Archive.open(archive_settings, application="second") as second:
        yield first, second


@pytest.mark.parametrize("first_comes", ["images", "notes", "both"])
def test_notes_race_with_what_they_name(settings: Settings, first_comes: str) -> None:
    """No image that a note names is shown once both are acknowledged, whichever came first."""
    with two(settings) as archives:
        for seed in range(6):
            images, kept = study_of(16, series=4), study_of(4)
            for image in kept:
                image.StudyInstanceUID = images[0].StudyInstanceUID
            notes = [note(images[n::4], SAFETY) for n in range(4)]
            work: list[list[Dataset]] = [images[n::4] + kept[n : n + 1] for n in range(4)] + [[each] for each in notes]
            if first_comes == "images":
                store(archives[0], images[0])
            elif first_comes == "notes":
                store(archives[0], notes[0])

            def send(n: int, work: list[list[Dataset]] = work, seed: int = seed) -> None:
                mine = work[n]
                random.Random(seed * THREADS + n).shuffle(mine)
                for each in mine:
                    store(archives[n % 2], each)

            assert together(send, THREADS) == []
            shown = seen(archives[0])
            assert not shown & uids(images)
            assert shown >= uids(kept)
        assert_sound(archives[0])


def test_undoing_races_with_what_arrives(settings: Settings) -> None:
    with two(settings) as archives:
        for _ in range(6):
            images = study_of(12, series=2)
            store(archives[0], images[0])
            store(archives[0], rejected := note(images, SAFETY))
            work = [images[1:5], images[5:9], images[9:], [note([rejected])]]

            def send(n: int, work: list[list[Dataset]] = work) -> None:
                for each in work[n]:
                    store(archives[n % 2], each)

            assert together(send, 4) == []
            assert seen(archives[1]) >= uids(images)
        assert_sound(archives[0])


def test_versions_race_with_notes(settings: Settings) -> None:
    with two(settings) as archives:
        for _ in range(6):
            (image,) = study_of(1)
            store(archives[0], image)
            versions = []
            for n in range(4):
                changed = ct_image(seed=n + 1, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{2 + 2 * (n % 2)}")
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                    setattr(changed, keyword, image[keyword].value)
                versions.append(changed)
            rejected = note([image], SAFETY)
            work: list[Dataset] = [*versions, rejected, note([rejected]), note([image])]

            def send(n: int, work: list[Dataset] = work) -> None:
                store(archives[n % 2], work[n])

            assert together(send, len(work)) == []
            assert not seen(archives[0]) & uids([image])
        assert_sound(archives[0])


def test_the_same_note_from_eight_associations_is_one(settings: Settings) -> None:
    with two(settings) as archives:
        images = study_of(5)
        for image in images:
            store(archives[0], image)
        rejected = note(images[:3])
        outcomes = []
        assert together(lambda n: outcomes.append(store(archives[n % 2], rejected).outcome), THREADS) == []
        assert sorted(outcomes) == [Outcome.DUPLICATE] * (THREADS - 1) + [Outcome.STORED]
        assert seen(archives[0]) == uids(images[3:])
        assert sql(archives[0], "SELECT count(*) FROM hiding_action") == [1]
        assert_sound(archives[0])


def test_release_races_with_more_from_the_stranger_and_from_the_facility(settings: Settings) -> None:
    with two(settings) as archives:
        images = study_of(12, series=3)
        for image in images[:6]:
            store(archives[0], image, STRANGER)

        def work(n: int) -> None:
            if n < 2:
                with suppress(NotFound):  # the other one has released it all
                    archives[n % 2].quarantine.release(Decision("WHO@10.1.2.3", None, "admin"), "86001")
            elif n == 2:
                for image in images[6:]:
                    store(archives[0], image, STRANGER)
            else:
                for image in images[:3]:
                    store(archives[1], image)

        assert together(work, 4) == []
        assert seen(archives[0]) >= uids(images[:6])
        assert_sound(archives[0])
        if archives[0].quarantine.studies():
            archives[0].quarantine.release(Decision("WHO@10.1.2.3", None, "admin"), "86001")
        assert seen(archives[0]) == uids(images)
        assert_sound(archives[0])


@pytest.mark.parametrize(
    ("capable", "rejected_by", "active"),
    [
        ({1: True}, {}, {1}),
        ({1: True, 2: True}, {1: {2}}, {2}),
        ({1: True, 2: True, 3: True}, {1: {2}, 2: {3}}, {1, 3}),
        ({1: True, 2: False}, {1: {2}}, {1}),
        ({1: True, 2: True}, {1: {2}, 2: {1}}, {1, 2}),
        ({1: True, 2: True, 3: True}, {1: {2}, 2: {1}, 3: {1}}, {1, 2, 3}),
        ({1: True, 2: True, 3: True}, {1: {2, 3}, 2: {1}}, {2, 3}),
        ({}, {}, set()),
    ],
)
def test_which_notes_are_active(capable: dict[int, bool], rejected_by: dict[int, set[int]], active: set[int]) -> None:
    assert active_notes(capable, rejected_by) == active


class _Rejecting(RuleBasedStateMachine):
    """Any order of storing, rejecting, undoing, correcting, quarantining and releasing; a model says what is shown."""

    archive: Archive
    COUNT = 6

    @initialize()
    def begin(self) -> None:
        with psycopg.connect(self.archive.settings.database.url.get_secret_value(), autocommit=True) as connection:
            connection.execute("TRUNCATE stored_object, instance, series, study, patient, rejection_note CASCADE")
        self.archive._ingest._index._parents.forget_all()
        for key in list(self.archive.store.keys()):
            self.archive.store.delete(key)
        self.images: list[Dataset] = study_of(self.COUNT - 2, series=2) + study_of(2)
        self.stored: set[int] = set()
        self.strange: set[int] = set()
        self.notes: list[tuple[Dataset, set[int], set[int]]] = []

    @rule(n=integers(0, COUNT - 1), version=integers(0, 1))
    def send(self, n: int, version: int) -> None:
        self.images[n].ImageComments = f"version {version}"
        store(self.archive, self.images[n])
        self.stored.add(n)

    @rule(n=integers(0, COUNT - 1))
    def send_from_a_stranger(self, n: int) -> None:
        self.images[n].ImageComments = "strange"
        store(self.archive, self.images[n], STRANGER)
        self.strange.add(n)

    @rule(which=sets(integers(0, COUNT - 1), min_size=1), code=sampled_from(["113001", "113037", "113038"]))
    def reject(self, which: set[int], code: str) -> None:
        document = note([self.images[n] for n in sorted(which)], code)
        store(self.archive, document)
        self.notes.append((document, which, set()))

    @rule(n=integers(0, 20), again=booleans())
    def undo(self, n: int, again: bool) -> None:
        if self.notes:
            target = n % len(self.notes)
            document = note([self.notes[target][0]])
            store(self.archive, document)
            if again:
                store(self.archive, document)
            self.notes.append((document, set(), {target}))

    @rule()
    def release(self) -> None:
        if self.strange:
            self.archive.quarantine.release(Decision("WHO@10.1.2.3", None, "admin"), "86001")
            self.stored |= self.strange
            self.strange = set()

    @invariant()
    def what_is_shown_is_what_no_holding_note_names(self) -> None:
        if not hasattr(self, "notes"):
            return
        holds: list[bool] = [False] * len(self.notes)
        for n in reversed(range(len(self.notes))):  # a note is undone by later ones only
            holds[n] = not any(holds[m] and n in self.notes[m][2] for m in range(n + 1, len(self.notes)))
        hidden = {image for n, (_, images, _) in enumerate(self.notes) if holds[n] for image in images}
        expected = {self.images[n].SOPInstanceUID for n in self.stored - hidden}
        assert seen(self.archive) == expected
        everything = {self.images[n].SOPInstanceUID for n in self.stored | self.strange}
        everything |= {document.SOPInstanceUID for document, *_ in self.notes}
        assert _all(self.archive) == everything
        assert_sound(self.archive)


def _all(archive: Archive) -> set[str]:
    """What the view of everything shows, which must be what there is."""
    matches = archive.search(Query(Level.IMAGE), EVERYTHING).matches
    found = {value(match, 0x00080018) for match in matches}
    assert found == set(sql(archive, "SELECT DISTINCT sop_instance_uid FROM instance"))
    return found


def test_random_sequences_leave_exact_counters(archive: Archive) -> None:
    machine = type("Rejecting", (_Rejecting,), {"archive": archive})
    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(
            max_examples=12, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
