"""The database is restored from an older back-up: no acknowledged object may be lost by that."""

from __future__ import annotations

import psycopg

from archive.core import Archive
from archive.errors import NotFound
from archive.records import Level, Outcome, Query
from config.settings import Settings
from tests.factories import SOURCE, ct_image, encode, store, store_bytes

TABLES = "stored_object, instance, series, study, patient, key_block"


def _lose_the_database(settings: Settings) -> None:
    with psycopg.connect(settings.database.url.get_secret_value(), autocommit=True) as connection:
        connection.execute(f"TRUNCATE {TABLES} CASCADE")


def test_rows_are_made_anew_from_the_objects(settings: Settings) -> None:
    images = [ct_image(InstanceNumber=n, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1") for n in (1, 2, 3)]
    with Archive.open(settings) as archive:
        for image in images:
            store(archive, image)
        before = {instance.sop_instance_uid: instance.object for instance in archive.locate("1.2.3")}
    _lose_the_database(settings)
    with Archive.open(settings) as archive:
        assert archive.reconcile().orphans == 0
        done = archive.reindex()
        assert (done.seen, done.indexed, done.copies, done.unreadable) == (3, 3, 0, 0)
        after = {instance.sop_instance_uid: instance.object for instance in archive.locate("1.2.3")}
        assert after == before
        found = archive.search(Query(Level.STUDY, {}))
        assert found.owners == [SOURCE.facility]
        assert found.matches[0]["00201208"]["Value"] == [3]
        assert archive.reindex().indexed == 0
    with Archive.open(settings) as archive:
        # Neither closing nor a later repair takes the adopted objects for left-overs.
        archive.reconcile()
        assert len(archive.locate("1.2.3")) == 3
        assert len(list(archive.store.keys())) == 3


def test_versions_come_back_in_the_order_they_were_received(settings: Settings) -> None:
    first, second = ct_image(seed=1), ct_image(seed=2)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    with Archive.open(settings) as archive:
        store(archive, first)
        assert store(archive, second).outcome is Outcome.NEW_VERSION
        (shown,) = archive.locate(first.StudyInstanceUID)
    _lose_the_database(settings)
    with Archive.open(settings) as archive:
        assert archive.reindex().indexed == 2
        (now,) = archive.locate(first.StudyInstanceUID)
        assert (now.object.key, now.version) == (shown.object.key, 2)


def test_objects_of_a_running_writer_are_left_alone(archive: Archive) -> None:
    image = ct_image()
    receiving = archive.begin(
        SOURCE,
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    receiving.write(encode(image))
    # Durable and without a row: the moment between the two halves of finish().
    receiving._writer.commit()
    assert len(list(archive.store.keys())) == 1
    assert archive.reindex().indexed == 0
    try:
        archive.locate(image.StudyInstanceUID)
    except NotFound:
        pass
    else:
        raise AssertionError("an object was indexed that nobody acknowledged")
    receiving.abort()


def test_a_copy_and_a_ruin_are_counted_and_left_where_they_are(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    (instance,) = archive.locate(image.StudyInstanceUID)
    with archive.store.open(instance.object.key) as reader:
        whole = reader.read()
    for key, data in (("2020/01/01/copy/000", whole), ("2020/01/01/ruin/000", whole[:400])):
        with archive.store.create(key) as writer:
            writer.write(data)
            writer.commit()
    done = archive.reindex()
    assert (done.indexed, done.copies, done.unreadable) == (0, 1, 1)
    assert len(list(archive.store.keys())) == 3


def test_a_sender_that_is_not_listed_leaves_the_object_to_the_unknown_facility(settings: Settings) -> None:
    image = ct_image()
    with Archive.open(settings) as archive:
        store_bytes(
            archive,
            encode(image),
            image.SOPClassUID,
            image.SOPInstanceUID,
            source=SOURCE.__class__(facility="86002", issuer_of_patient_id="86002", transport="stow"),
        )
    _lose_the_database(settings)
    with Archive.open(settings) as archive:
        assert archive.reindex().indexed == 1
        assert archive.search(Query(Level.STUDY, {})).owners == ["UNKNOWN"]
