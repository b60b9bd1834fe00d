"""Connections to PostgreSQL, and the translation of its errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar, cast

import psycopg
from sqlalchemy import Connection, Engine, Executable, Row, Select, create_engine, event, text
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from archive.awaited import Awaited
from archive.errors import IndexUnavailable, InvalidQuery, TooManyMatches, Withdrawn
from archive.row_security import Context, enter
from config.settings import DatabaseSettings

T = TypeVar("T")

# Both ends notice within a minute that the other is gone without a word: ours, so that no thread waits for ever; the
# server's, so that it gives up the lock that says a writer lives. Without effect on a Unix socket.
KEEPALIVE: Final[dict[str, Any]] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_DIALECT: Final = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]
_PARALLEL_FROM: Final = 20_000
"""What a statement must cost before PostgreSQL shares it among processes, about 80 ms: below, it takes longer to start
these than they spare, and a search that has all processors leaves none to the others."""
_SERVER_KEEPALIVE: Final = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"


def database_url(settings: DatabaseSettings) -> URL:
    """The URL with its driver and, where given apart, the password."""
    url = make_url(settings.url.get_secret_value()).set(drivername="postgresql+psycopg")
    password = settings.password.get_secret_value()
    return url.set(password=password) if password else url


Stop = Callable[[], bool]
"""Asked every tenth of a second while a statement runs: whether nobody waits for its result any more."""


class StoppableConnection(psycopg.Connection[Any]):
    """A connection whose running statement is cancelled at the server when `stop` says so.

    psycopg waits in short turns, so that it can be interrupted; `stop` is asked in the thread that waits, between
    them. So it may read the socket of the peer that asked, which that thread owns.
    """

    stop: Stop | None = None

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **named: Any) -> Any:
        return super().wait(gen if self.stop is None else self._watched(gen, self.stop), *arguments, **named)

    def _watched(self, gen: Generator[Any, Any, Any], stop: Stop) -> Generator[Any, Any, Any]:
        stopped = False
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not (ready or stopped) and stop():
                    stopped = True
                    self._cancel()
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
        except psycopg.errors.QueryCanceled:
            if stopped:
                raise Withdrawn("the query was cancelled") from None
            raise

    def _cancel(self) -> None:
        try:
            self.cancel_safe(timeout=5.0)
        except psycopg.Error:
            # A connection in the middle of a statement is of no use to anybody else.
            self.pgconn.finish()
            raise Withdrawn("the query was cancelled") from None

    @classmethod
    def connect_for(cls, _dialect: object, _record: object, arguments: list[Any], parameters: dict[str, Any]) -> Self:
        """For SQLAlchemy's event ``do_connect``."""
        return cls.connect(*arguments, **parameters)


def open_engine(settings: DatabaseSettings, application: str, *, transactions: bool = False, role: str = "") -> Engine:
    """An engine with a bounded pool. Nothing is connected before the first use.

    For reading by `fetch`, each statement is a transaction of its own: one round trip instead of three. With a `role`,
    connections act as this one from their beginning.
    """
    timeout = int(settings.statement_timeout * 1000)
    engine = create_engine(
        database_url(settings),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.connect_timeout,
        # A reader that meets a lost connection tries again (see `fetch`), which is cheaper than asking each time.
        pool_pre_ping=transactions,
        **({} if transactions else {"isolation_level": "AUTOCOMMIT"}),
        connect_args={
            "connect_timeout": max(1, int(settings.connect_timeout)),
            "application_name": application,
            **KEEPALIVE,
            # Few joins, so planning them all is cheap; the limits only ever made plans worse (dcm4chee #4621).
            "options": f"{_SERVER_KEEPALIVE} -c statement_timeout={timeout} "
            "-c join_collapse_limit=16 -c from_collapse_limit=16 -c jit=off "
            f"-c parallel_setup_cost={_PARALLEL_FROM}" + (f" -c role={role}" if role else ""),
        },
    )
    event.listen(engine, "do_connect", StoppableConnection.connect_for)
    return engine


def connect(settings: DatabaseSettings, application: str, role: str = "") -> psycopg.Connection[tuple[object, ...]]:
    """A connection of one's own in autocommit mode, past the pools. Raises `IndexUnavailable`.

    With a `role` it acts as this one from its beginning.
    """
    url = database_url(settings)
    # By parts, not as a URI: SQLAlchemy and libpq do not write a space in a password in the same way.
    parts: dict[str, Any] = {**url.query, **url.translate_connect_args(username="user", database="dbname")}
    try:
        return psycopg.connect(
            **parts,
            autocommit=True,
            connect_timeout=max(1, int(settings.connect_timeout)),
            application_name=application,
            options=f"{_SERVER_KEEPALIVE} -c statement_timeout={int(settings.statement_timeout * 1000)}"
            + (f" -c role={role}" if role else ""),
            prepare_threshold=2,
            **KEEPALIVE,
        )
    except psycopg.Error as error:
        raise IndexUnavailable(f"the index cannot be reached: {first_line(error)}") from error


def fetch(
    engine: Engine,
    statement: Executable,
    parameters: Mapping[str, object] | None = None,
    *,
    stop: Stop | None = None,
    too_slow: str = "",
    context: Context | None = None,
) -> Sequence[Row[Any]]:
    """All rows of a reading statement. Raises `IndexUnavailable`; `Withdrawn` if `stop` became true meanwhile.

    PostgreSQL drops its connections when it restarts; a statement that only reads is then sent once more. What takes
    longer than `database.statement_timeout` is no failure of the index if `too_slow` says how to ask for less: then it
    is `TooManyMatches` with that sentence; such a statement is planned anew each time, for its values decide how much
    there is to do.
    """
    anew = bool(too_slow)
    with translated():
        try:
            return _fetch(engine, statement, parameters, stop, context, anew)
        except DBAPIError as error:
            if too_slow and isinstance(error.orig, psycopg.errors.QueryCanceled):
                raise TooManyMatches(too_slow) from None
            if not error.connection_invalidated:
                raise
            return _fetch(engine, statement, parameters, stop, context, anew)


class Prepared:
    """A reading statement that goes to the driver, past SQLAlchemy: for what is asked for with every frame.

    To hand a statement and its rows through takes SQLAlchemy longer than PostgreSQL to answer. Values come in binary,
    as the driver decodes them.
    """

    def __init__(self, statement: Select[Any]) -> None:
        """Compile it; parameters without a value are for `fetch`."""
        compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self._statement = statement
        self._text = str(compiled)
        self._values: dict[str, object] = dict(compiled.params)

    async def fetch_awaited(
        self, awaited: Awaited, parameters: Mapping[str, object], context: Context | None = None
    ) -> Sequence[Sequence[Any]] | None:
        """The same without a thread; None if `fetch` is to be asked."""
        return await awaited.fetch(self._text, {**self._values, **parameters}, context)

    def fetch(
        self, engine: Engine, parameters: Mapping[str, object], context: Context | None = None
    ) -> Sequence[Sequence[Any]]:
        """All rows, as the function `fetch` gives them, and for the same errors."""
        with translated():
            found = _driven(engine, self._text, {**self._values, **parameters}, context, prepare=True)
        # SQLAlchemy knows what to do when connections are lost: others of the pool are lost, too.
        return fetch(engine, self._statement, parameters, context=context) if found is None else found


_NAMED: Final = re.compile(r"(?<![:\w]):(\w+)")


def fetch_many(
    engine: Engine, statement: str, parameters: Mapping[str, object], too_slow: str
) -> Sequence[Sequence[Any]]:
    """All rows of a reading statement with parameters such as ``:name``, as `fetch` gives them and for the same errors.

    It goes to the driver, past SQLAlchemy: for answers of many thousand rows.
    """
    with translated():
        plain = _NAMED.sub(r"%(\1)s", statement.replace("%", "%%"))
        try:
            found = _driven(engine, plain, parameters, None, prepare=False)
        except psycopg.errors.QueryCanceled:
            raise TooManyMatches(too_slow) from None
    return fetch(engine, text(statement), parameters, too_slow=too_slow) if found is None else found


def _driven(
    engine: Engine, statement: str, values: Mapping[str, object], context: Context | None, *, prepare: bool
) -> Sequence[tuple[Any, ...]] | None:
    """All rows, straight from the driver; None if the connection was lost."""
    pooled = engine.raw_connection()
    driver = cast(StoppableConnection, pooled.driver_connection)
    try:
        if context is not None:
            enter(pooled.info, context, driver.execute)
        return driver.cursor(binary=True).execute(statement, values, prepare=prepare).fetchall()
    except psycopg.OperationalError as error:
        if not driver.closed:
            raise
        pooled.invalidate(error)
        return None
    finally:
        pooled.close()


def change(
    engine: Engine,
    statement: Executable,
    parameters: Mapping[str, object] | None = None,
    *,
    repeatable: bool = False,
) -> Sequence[Row[Any]]:
    """Run a statement that writes, as a transaction of its own; give the rows that it returns.

    Raises `IndexUnavailable`; then it is not known whether it was done. One that is `repeatable` may have been done,
    and is then sent once more, when the connection turns out to be lost.
    """
    with translated():
        try:
            return _change(engine, statement, parameters)
        except DBAPIError as error:
            if not (repeatable and error.connection_invalidated):
                raise
            return _change(engine, statement, parameters)


def _change(engine: Engine, statement: Executable, parameters: Mapping[str, object] | None) -> Sequence[Row[Any]]:
    with engine.connect() as connection:
        done = connection.execute(statement, parameters or {})
        return done.all() if done.returns_rows else ()


def _fetch(
    engine: Engine,
    statement: Executable,
    parameters: Mapping[str, object] | None,
    stop: Stop | None,
    context: Context | None,
    anew: bool,
) -> Sequence[Row[Any]]:
    with engine.connect() as connection:
        if context is not None:
            enter(connection.info, context, connection.exec_driver_sql)
        driver = cast(StoppableConnection, connection.connection.driver_connection)
        driver.stop, prepared_after = stop, driver.prepare_threshold
        if anew:
            # psycopg prepares what comes a fifth time, and PostgreSQL then soon plans it for values of any kind: a
            # range of dates for one of a few days, which made searches of a year take ten times as long.
            driver.prepare_threshold = None
        try:
            return connection.execute(statement, parameters or {}).all()
        finally:
            driver.stop = None
            driver.prepare_threshold = prepared_after


def in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Do `work` in one transaction and commit it. Raises `IndexUnavailable`.

    Should the connection turn out to be lost, `work` is done once more on another: it must be safe to repeat even if
    it was committed.
    """
    with translated():
        try:
            return _transact(engine, work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return _transact(engine, work)


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        # A pool for reading commits each statement by itself; the pool sets it back when it gets the connection.
        transactional = connection.execution_options(isolation_level="READ COMMITTED")
        with transactional.begin():
            return work(transactional)


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors that mean "not now" into `IndexUnavailable`, and values that no column can hold into `InvalidQuery`.

    Programming errors go through.
    """
    try:
        yield
    except (DataError, psycopg.DataError) as error:
        # Of psycopg itself, without a code: text with a NUL. Of the server: numbers out of range.
        if getattr(getattr(error, "orig", error), "sqlstate", None) not in (None, "22003"):
            raise
        raise InvalidQuery("a number is too large to be one of ours, or a text holds a NUL") from None
    except (OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise IndexUnavailable(f"the index cannot serve now: {first_line(cause)}") from error


def first_line(error: BaseException | None) -> str:
    """The first line of an error message: what happened, without the statement or its values."""
    return (str(error).splitlines() or [type(error).__name__])[0]
