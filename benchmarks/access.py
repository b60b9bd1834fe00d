"""``python -m benchmarks access``: what it costs that each caller sees their own.

A generated index of a province; callers who see all of it (no predicate, no row security), a large hospital, the same
without row security (the predicate alone), a small one with a study granted, and a commune station. All take turns, so
that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from pydicom.uid import generate_uid

from archive.core import Archive, migrate, with_database
from archive.reading import Reader
from archive.records import Level, Query, Scope, Source
from config.settings import load

FACILITIES: Final = 120
SLICES: Final = 1500
STATEMENTS: Final = (
    "INSERT INTO facility (code, name) SELECT to_char(86000 + n, 'FM00000'), 'F' FROM "
    "generate_series(1, {facilities}) AS n ON CONFLICT DO NOTHING",
    "INSERT INTO patient (issuer, identity, patient_id, name, name_fold, birth_date, sex, attributes)"
    " SELECT 'TINH', 'P' || n, 'P' || n, '', (ARRAY['NGUYEN','TRAN','LE','PHAM','HOANG'])[1 + n % 5]"
    " || ' ' ||"
    " substr(md5(n::text), 1, 3) || ' ' || substr(md5('x' || n), 1, 4), date '1950-01-01' + n % 20000, 'F', '{{}}'"
    " FROM generate_series(1, {studies} / 3) AS n",
    # The shares of facilities fall off as those of hospitals do: the first has a third of all, the last some dozens.
    "INSERT INTO study (study_instance_uid, patient_id, facility_id, study_date, study_time, accession_number,"
    " study_id,"
    " study_description, referring_physician_fold, attributes, modalities_in_study, series_count, instance_count)"
    " SELECT '1.2.' || n, patient.id, (SELECT id FROM facility WHERE code = to_char(86001 +"
    " floor({facilities} * power(abs(hashint8(n))::float / 2147483648, 4))::int, 'FM00000')),"
    " date '2022-01-01' + (n * 1460 / {studies})::int, time '08:00' + n % 600 * interval '1 min', 'A' || n, '', '', '',"
    " '{{}}', '{{CT}}', 1, 1 FROM generate_series(1, {studies}) AS n"
    " JOIN patient ON patient.identity = 'P' || (1 + n % ({studies} / 3))",
    "INSERT INTO series (study_id, series_instance_uid, modality, series_description, body_part_examined, attributes,"
    " instance_count) SELECT id, study_instance_uid || '.1', 'CT', '', '', '{{}}', 1 FROM study",
    "INSERT INTO instance (series_id, sop_instance_uid, sop_class_uid, number_of_frames)"
    " SELECT id, series_instance_uid || '.1', '1.2.840.10008.5.1.4.1.1.2', 1 FROM series",
    "INSERT INTO stored_object (instance_id, version, current, key, size, digest, transfer_syntax_uid, dataset_offset,"
    " header_length, facility_id, transport, calling_ae_title, address, received_at)"
    " SELECT id, 1, true, 'k' || id, 1, '', '1.2.840.10008.1.2.1', 0, 0, 1, 'import', '', '', now() FROM instance",
    # Others have thousands of grants as well, ended ones among them.
    "INSERT INTO access_grant (study_id, facility_id, kind, expires_at)"
    " SELECT study.id, 2 + study.id % ({facilities} - 2), 'referral', now() + (study.id % 60 - 30) * interval '1 day'"
    " FROM study WHERE study.id % 10 = 0",
    "ANALYZE",
)
_GRANT: Final = """
INSERT INTO access_grant (study_id, facility_id, kind, may_copy, expires_at)
SELECT study.id, facility.id, 'referral', true, now() + interval '1 day' FROM study, facility
 WHERE study_instance_uid = %s AND code = %s
"""
GRANTEE: Final = "86100"
UNWALLED: Final = "predicate"
"""The large hospital again, without row security."""


def main(arguments: list[str]) -> int:
    """Exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks access", description=__doc__)
    parser.add_argument("--studies", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--plans", action="store_true", help="also print the plan of each statement")
    given = parser.parse_args(arguments)
    with _archive(given.studies) as archive:
        _run(archive, given.rounds, plans=given.plans)
    return 0


@contextmanager
def _archive(studies: int) -> Iterator[Archive]:
    with tempfile.TemporaryDirectory(prefix="pacs-bench-") as folder:
        Path(folder).chmod(0o755)
        settings = load(
            environ={},
            data_dir=folder,
            storage={"minimum_free_bytes": 0},
            facilities=[{"code": f"{86000 + n:05}", "name": "F"} for n in range(1, FACILITIES + 1)],
        )
        embedded, settings = with_database(settings)
        try:
            migrate(settings)
            with psycopg.connect(settings.database.url.get_secret_value(), autocommit=True) as connection:
                for statement in STATEMENTS:
                    connection.execute(statement.format(studies=studies, facilities=FACILITIES).encode())
            with Archive.open(settings) as archive:
                yield archive
        finally:
            if embedded is not None:
                embedded.stop()


def _run(archive: Archive, rounds: int, *, plans: bool) -> None:
    study = _store(archive)
    url = archive.settings.database.url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_GRANT, (study[0], GRANTEE))
        connection.execute("ANALYZE")
        sizes = dict(
            connection.execute(
                "SELECT code, count(*) FROM study JOIN facility ON facility.id = facility_id GROUP BY 1"
            ).fetchall()
        )
        del plans
    scopes = {
        "all": Scope(),
        "own": Scope(frozenset({"86001"})),
        UNWALLED: Scope(frozenset({"86001"})),
        "granted": Scope(frozenset({GRANTEE})),
        "station": Scope(frozenset({f"{86000 + FACILITIES:05}"})),
    }
    print(f"studies of own: {sizes.get('86001')}, of granted: {sizes.get(GRANTEE)}, of station: {sizes.get('86120')}")
    asked: dict[str, Callable[[Scope], object]] = {
        "QIDO newest 50": lambda scope: archive.search(Query(Level.STUDY, limit=50), scope),
        "QIDO a month, 50": lambda scope: archive.search(
            Query(Level.STUDY, {0x00080020: "20250301-20250331"}, limit=50), scope
        ),
        "QIDO PatientID": lambda scope: archive.search(Query(Level.STUDY, {0x00100020: "P777"}), scope),
        "QIDO PatientID*": lambda scope: archive.search(Query(Level.STUDY, {0x00100020: "P7777*"}), scope),
        "QIDO rare name": lambda scope: archive.search(
            Query(Level.STUDY, {0x00100010: "tran 0ab"}, fuzzy=True, limit=50), scope
        ),
        "QIDO common name": lambda scope: archive.search(
            Query(Level.STUDY, {0x00100010: "nguyen"}, fuzzy=True, limit=50), scope
        ),
        "QIDO common name*": lambda scope: archive.search(Query(Level.STUDY, {0x00100010: "NGUYEN*"}, limit=50), scope),
        "QIDO name*, a month": lambda scope: archive.search(
            Query(Level.STUDY, {0x00100010: "NGUYEN*", 0x00080020: "20250301-20250331"}, limit=50), scope
        ),
        "QIDO one study": lambda scope: archive.search(Query(Level.STUDY, {0x0020000D: study[0]}), scope),
        "QIDO its series": lambda scope: archive.search(Query(Level.SERIES, {0x0020000D: study[0]}), scope),
        "WADO one instance": lambda scope: _locate(archive, scope, *study),
        "WADO a frame": lambda scope: _frame(archive, scope, *study),
        f"WADO {SLICES} located": lambda scope: _locate(archive, scope, study[0]),
        f"WADO {SLICES} metadata": lambda scope: _metadata(archive, scope, study[0]),
    }
    walled, open_to_all = archive.reader, Reader(archive._engine)
    print(
        f"{'median ms':24}"
        + "".join(f"{name:>10}" for name in scopes)
        + "".join(f"{name + '/all':>14}" for name in list(scopes)[1:])
    )
    for name, ask in asked.items():
        times: dict[str, list[float]] = {each: [] for each in scopes}
        for turn in range(rounds):
            for each, scope in scopes.items():
                archive.reader = open_to_all if each == UNWALLED else walled
                start = time.perf_counter()
                ask(scope)
                if turn >= 5:
                    times[each].append((time.perf_counter() - start) * 1000)
        archive.reader = walled
        medians = {each: statistics.median(values) for each, values in times.items()}
        row = "".join(f"{medians[each]:10.2f}" for each in scopes)
        print(f"{name:24}" + row + "".join(f"{medians[each] / medians['all']:14.2f}" for each in list(scopes)[1:]))
        sys.stdout.flush()


def _locate(archive: Archive, scope: Scope, *names: str) -> object:
    from archive.errors import NotFound

    try:
        return archive.locate(*names, scope=scope)
    except NotFound:
        return None


def _frame(archive: Archive, scope: Scope, *names: str) -> object:
    from archive.retrieve import read_frames

    found = _locate(archive, scope, *names)
    return list(read_frames(archive.store, found[0], [1])) if isinstance(found, list) else None


def _metadata(archive: Archive, scope: Scope, study: str) -> object:
    from archive.ready_metadata import Addresses

    found = _locate(archive, scope, study)
    return (
        sum(map(len, archive.metadata.gzipped(found, Addresses("http://x", "")))) if isinstance(found, list) else None
    )


def _store(archive: Archive) -> tuple[str, str, str]:
    """A scan of the first facility; gives the UIDs of its first slice."""
    from tests.factories import ct_image, store

    source = Source(facility="86001", issuer_of_patient_id="TINH", transport="import")
    study, series = generate_uid(), generate_uid()
    first = ""
    for number in range(1, SLICES + 1):
        image = ct_image(
            rows=128,
            columns=128,
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            InstanceNumber=number,
            PatientID="P9",
        )
        store(archive, image, source)
        first = first or str(image.SOPInstanceUID)
    return str(study), str(series), first
