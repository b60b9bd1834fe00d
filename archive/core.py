"""The opened archive: one object store, one index, and what can be done with them.

Each serving process holds one :class:`Archive` and calls it from many threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from pydantic import SecretStr
from sqlalchemy import Engine, text

from archive import index_sql
from archive.adopt import Adopter
from archive.audit.looks import Looks
from archive.audit.operation import note_command
from archive.audit.search import AuditReader
from archive.audit.trail import Trail
from archive.awaited import Awaited
from archive.commitment.commitments import Commitments
from archive.correction.correcting import Correcting
from archive.correction.worklist import WorklistLookup
from archive.database import Stop, connect, fetch, open_engine
from archive.delivery.deliveries import Deliveries
from archive.delivery.links import Links
from archive.delivery.results import Results
from archive.embedded import EmbeddedPostgres
from archive.errors import IndexUnavailable, StoreUnavailable
from archive.feed.feed import Feed
from archive.feed.record import Recorder
from archive.feed.webhooks import Webhooks
from archive.fhir.service import Fhir
from archive.figures.figures import Figures
from archive.hl7.messages import Messages
from archive.identity.identities import Identities
from archive.identity.linker import Linker
from archive.identity.review import Reviews
from archive.index_session import IndexSession
from archive.index_writer import IndexWriter
from archive.ingest import Ingest
from archive.keys import KeyAllocator, owed
from archive.locate import locate, locate_one
from archive.migrate import migrate as migrate_database
from archive.migrate import require_current, require_wall
from archive.people.people import People
from archive.reading import Reader, Short
from archive.ready_metadata import ReadyMetadata
from archive.receiving import Receiving
from archive.reconcile import Repairs, reconcile, verify
from archive.records import EVERYTHING, DicomJSON, Query, Scope, SearchResult, Source, StoredInstance
from archive.registry.activity import Activities
from archive.registry.checks import Checks
from archive.registry.live import LivePeers
from archive.registry.registry import Registry
from archive.reindex import Reindexed, reindex
from archive.rejection.notes import RejectionNotes
from archive.rejection.quarantine import Quarantine
from archive.rejection.rejections import Rejections
from archive.reports.exports import Exports
from archive.reports.objects import ReportObjects
from archive.reports.reports import Reports
from archive.routing.routing import Routing
from archive.row_security import ROLE
from archive.search import browse, search, within_one_study
from archive.sharing.break_glass import BreakGlass
from archive.sharing.care import Care
from archive.sharing.ownership import Ownership
from archive.sharing.sharings import Sharings
from archive.ups.worklist import ProcedureSteps
from archive.worklist.items import Items
from archive.worklist.steps import Steps
from config.settings import Settings
from storage.base import ObjectStore
from storage.cache import DiskCache
from storage.errors import StorageError
from storage.factory import cache_seal, open_store
from storage.uploader import Backlog, Waiting

log = logging.getLogger(__name__)


class Archive:
    """Everything the edges may do. Get one by `Archive.open`; close it when done."""

    def __init__(self, settings: Settings, store: ObjectStore, engine: Engine, session: IndexSession) -> None:
        self.settings = settings
        self.store = store
        self._engine = engine
        self.peers = LivePeers(settings, engine)
        self._limited = open_engine(settings.database, "pacs reader", role=ROLE)
        self._short = _short(settings)
        self.reader = Reader(engine, self._limited, self._short)
        self._session = session
        self._keys = KeyAllocator(session, store)
        writer = IndexWriter(
            session, conflict=settings.ingest.conflict, on_stale=self._keys.retire, waits_for_log=False
        )
        notes = self._notes(session)
        self._lookup = WorklistLookup(engine)
        self.rejections = Rejections(engine, self.reader, self.begin, settings.node.ae_title)
        self.quarantine = Quarantine(
            lambda: IndexSession(self.settings.database, "pacs quarantine"),
            store,
            self.peers,
            adopter=self._adopter,
            notes=self._notes,
        )
        self._ingest = Ingest(
            store,
            self._keys,
            writer,
            maximum_object_bytes=settings.node.maximum_object_bytes,
            on_key_object=notes.take,
            worklist=self._lookup,
        )
        self.corrections = Correcting(engine, session, store, self.peers, self._lookup)
        self.routing = Routing(settings, engine, self.peers)
        self.figures = Figures(engine, settings, self.routing, self.peers)
        self.commitments = Commitments(settings.commitment, engine, store)
        self.feed = Feed(engine, self.reader)
        self.webhooks = Webhooks(engine, settings.webhooks)
        self.audit = Trail(settings.database)
        self.trail = AuditReader(engine, settings.audit)
        self.looks = Looks(self.audit, settings.audit.look_minutes * 60)
        self.people = People(engine, settings, self.audit)
        self.registry = Registry(engine, settings, self.audit, self.peers)
        self.peer_checks, self.peer_activities = Checks(engine), Activities(engine)
        self.links = Links(engine, self.reader, settings.links, self.audit, self.people.seal)
        self.deliveries = Deliveries(engine, self.reader, self.audit)
        self.results = Results(self.search, self.locate, store)
        self.reports = Reports(engine, self.reader, self.audit, self.looks, settings.reports)
        self.identities = Identities(engine, self.audit, settings)
        self.reviews = Reviews(engine, self.reader, settings)
        self.sharings = Sharings(engine, self.reader, self.audit, settings)
        self.ownership = Ownership(engine, self.audit, frozenset(self.peers.facilities))
        self.break_glass = BreakGlass(engine, self.reader, self.audit, settings.sharing)
        self.worklist = Items(engine, self.reader, self.peers, settings.worklist)
        self.performed = Steps(engine, self.reader)
        self.report_exports = Exports(engine, self.reports, self.audit)
        self.report_objects = ReportObjects(engine, self.reports, self.rejections, self.begin, settings)
        self.messages = Messages(
            engine,
            settings,
            self.people.seal,
            self.worklist,
            self.identities,
            self.reports,
            self.report_objects,
            self.audit,
        )
        self.metadata = ReadyMetadata(store, _cache(settings, "metadata", settings.web.metadata_cache_bytes))
        self.frames = _cache(settings, "frames", settings.web.frame_cache_bytes)
        self.videos = _cache(settings, "videos", settings.web.video_cache_bytes)
        self.ups = ProcedureSteps(engine, self.reader, settings.ups, most=settings.ingest.query_limit)
        self.fhir = Fhir(engine, self.reader, settings)
        self._spool = Backlog(settings.waiting_dir) if settings.spools else None
        self._embedded: EmbeddedPostgres | None = None

    @classmethod
    def open(cls, settings: Settings, application: str = "pacs") -> Self:
        """Connect to the store and to the index, which must be at this release's revision.

        Raises `IndexUnavailable`, `StoreUnavailable`, each with a sentence that says what to do.
        """
        embedded, settings = with_database(settings)
        try:
            engine = open_engine(settings.database, application)
            try:
                require_current(engine)
                store = _open_store(settings)
            except BaseException:
                engine.dispose()
                raise
        except BaseException:
            if embedded is not None:
                embedded.stop()
            raise
        archive = cls(settings, store, engine, IndexSession(settings.database, f"{application} writer"))
        archive._embedded = embedded
        try:
            require_wall(archive._limited)
            archive._recover()
            archive.peers.refresh()
            archive._name_facilities()
            note_command(archive.audit)
        except BaseException:
            archive.close()
            raise
        return archive

    def begin(
        self, source: Source, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> Receiving:
        """Start to take in one object; see `archive.ingest.Ingest.begin`."""
        return self._ingest.begin(
            source,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
        )

    def search(self, query: Query, scope: Scope = EVERYTHING) -> SearchResult:
        """Matches of a query that the caller may see. Raises `InvalidQuery`, `IndexUnavailable`."""
        return search(self.reader, query, scope, cap=self.settings.ingest.query_limit)

    def browse(
        self, query: Query, scope: Scope = EVERYTHING, *, all_of_them: bool = False, stop: Stop | None = None
    ) -> Iterator[DicomJSON]:
        """Matches one by one, up to the limit of the settings or, within one study or if so asked, to the last.

        `stop` is asked while the index works. Raises `InvalidQuery`, `TooManyMatches` behind the last that may be
        given, `IndexUnavailable`, `Withdrawn`.
        """
        unlimited = all_of_them or within_one_study(query)
        return browse(self.reader, query, scope, cap=None if unlimited else self.settings.ingest.query_limit, stop=stop)

    def locate(
        self, study: str, series: str | None = None, instance: str | None = None, scope: Scope = EVERYTHING
    ) -> list[StoredInstance]:
        """The instances of a study, of a series of it, or one instance, in order of series and instance number.

        Raises `NotFound`, `IndexUnavailable`.
        """
        return locate(self.reader, study, series, instance, scope)

    async def locate_one(self, study: str, series: str, instance: str, scope: Scope) -> StoredInstance | None:
        """One instance, found without a thread; None if `locate` is to be asked, in one."""
        return await locate_one(self.reader, study, series, instance, scope)

    def reconcile(self, *, empty_parents: bool = True) -> Repairs:
        """Repair what a crash left behind; see `archive.reconcile`."""
        # A session of its own, so that ingest does not wait for the deletion of orphans.
        session = IndexSession(self.settings.database, "pacs reconcile")
        try:
            repairs = reconcile(session, self.store, self._adopter(session), empty_parents=empty_parents)
            repairs.notes = self._notes(session).catch_up()
            return repairs
        finally:
            session.close()

    def verify(
        self, repairs: Repairs, *, content: bool = False, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Check every row against the store; see `archive.reconcile.verify`."""
        verify(self._session, self.store, repairs, content=content, progress=progress)

    def reindex(self, progress: Callable[[Reindexed], None] = lambda _: None) -> Reindexed:
        """Make rows for objects that have none, after the database was restored; see `archive.reindex`."""
        self.reconcile(empty_parents=False)
        done = reindex(self._session, self.store, self.peers, self._lookup, progress)
        self._notes(self._session).catch_up()
        return done

    def recorder(self, interval: float = 1.0) -> Recorder:
        """What writes the change feed, in a thread; see `archive.feed.record`. Raises `IndexUnavailable`."""
        return Recorder(self.settings.database, self.settings.feed, interval)

    def care(self) -> Care:
        """What lets facilities see the patients whom they treat, for a thread; see `archive.sharing.care`."""
        return Care(self.settings.database, self.settings.sharing, self.audit)

    def linker(self) -> Linker:
        """What links patients to persons as they come, for a thread; see `archive.identity.linker`."""
        return Linker(self.settings.database, self.settings.identity)

    def waiting_for_s3(self) -> Waiting | None:
        """What is stored and waits in the spool for S3, whichever process received it; None where there is no spool."""
        return self._spool.look() if self._spool is not None else None

    def check(self) -> dict[str, str | None]:
        """Whether each part works now: its name, and None or what is wrong."""
        found: dict[str, str | None] = {"index": None, "store": None}
        try:
            fetch(self._engine, text("SELECT 1"))
        except IndexUnavailable as error:
            found["index"] = str(error)
        try:
            self.store.check()
        except StorageError as error:
            found["store"] = str(error)
        return found

    def close(self) -> None:
        """Settle what this process reserved and release all connections."""
        try:
            self._keys.close()
        except IndexUnavailable as error:
            log.warning("key blocks are left to reconcile: %s", error)
        self.looks.close()
        self.identities.close()
        self.audit.close()
        self._session.close()
        self._engine.dispose()
        self._limited.dispose()
        for each in self._short:
            each.close()
        self.store.close()
        if self._embedded is not None:
            self._embedded.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _recover(self) -> None:
        try:
            self.store.recover(lambda keys: owed(self._session.run, keys))
        except StorageError as error:
            raise StoreUnavailable(f"the object store cannot be recovered: {error}") from error

    def _adopter(self, session: IndexSession) -> Adopter:
        conflict = self.settings.ingest.conflict
        return Adopter(session, self.store, self.peers, conflict=conflict, worklist=self._lookup)

    def _notes(self, session: IndexSession) -> RejectionNotes:
        return RejectionNotes(session, self.store, self.peers, expiry_notes=self.settings.ingest.expiry_notes)

    def _name_facilities(self) -> None:
        for facility in self.peers.facilities.values():
            parameters = facility.model_dump(include={"code", "name", "district", "care_level"})
            self._session.run(lambda connection, given=parameters: connection.execute(index_sql.NAME_FACILITY, given))  # type: ignore[misc]


def _cache(settings: Settings, name: str, limit: int) -> DiskCache:
    # It stops before the disk is so full that no more objects are taken.
    free = 2 * settings.storage.minimum_free_bytes
    seal = cache_seal(settings)
    return DiskCache(settings.cache_dir / name, limit, free, seal=seal)


def _short(settings: Settings) -> Short:
    def connecting(role: str = "") -> Awaited:
        return Awaited(lambda: connect(settings.database, "pacs short questions", role))

    return Short(connecting(), connecting(ROLE))


def _open_store(settings: Settings) -> ObjectStore:
    try:
        return open_store(settings)
    except StorageError as error:
        raise StoreUnavailable(f"the object store cannot be opened: {error}") from error


def with_database(settings: Settings) -> tuple[EmbeddedPostgres | None, Settings]:
    """Settings that name a database: the given one, or an embedded PostgreSQL that is started for the purpose."""
    if settings.database.url.get_secret_value():
        return None, settings
    embedded = EmbeddedPostgres(settings.data_dir / "postgres")
    database = settings.database.model_copy(update={"url": SecretStr(embedded.url)})
    return embedded, settings.model_copy(update={"database": database})


def migrate(settings: Settings) -> list[str]:
    """Bring the database to this release's revision; give the revisions applied. Raises `IndexUnavailable`."""
    embedded, settings = with_database(settings)
    engine = open_engine(settings.database, "pacs migrate", transactions=True)
    try:
        return migrate_database(engine)
    finally:
        engine.dispose()
        if embedded is not None:
            embedded.stop()
