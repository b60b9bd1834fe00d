"""``python -m benchmarks query``: how long questions take, by QIDO-RS and by C-FIND, from both processes as shipped.

Asks a filled index (`python -m archive.demo.generated`), or small ones that it fills itself; with ``--small`` both, and
then the small ones only what the goals name, by one client, to show what the size of the archive does. Callers are one
who sees the province and one of its largest hospital, behind the walls; one client, and four at once. Writes
``query-STUDIES.md`` and ``query-STUDIES.json`` into ``build/benchmarks/``; of a named index ``query.md`` and
``query.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import psycopg

from archive.core import Archive
from archive.embedded import EmbeddedPostgres
from archive.feed.record import begin as begin_feed
from archive.figures.keep import begin as begin_figures
from archive.figures.keep import catch_up
from archive.index_session import IndexSession
from archive.people.caller import Membership
from archive.people.commands import OPERATOR
from archive.people.roles import Right, Role
from benchmarks.command import Parser, say, scratch
from benchmarks.finder import Client, Finder, Qido
from benchmarks.goals import QUERIES
from benchmarks.questions import KINDS, Question, draw, studies
from benchmarks.results import TARGET, machine
from benchmarks.servers import ROOT, Service, service
from config.settings import load

GOAL_MS: Final = 50
_SAY_AFTER: Final = 10.0


@dataclass
class Measured:
    """Answers to the questions of one kind; times in milliseconds."""

    kind: str
    by: str
    caller: str
    clients: int
    asked: int
    matches: float
    """Of the median question."""
    p50: float
    p95: float
    p99: float
    worst: float


class Door(NamedTuple):
    """A way to ask: how it is called, whose it is, and what opens a client."""

    by: str
    caller: str
    open: Callable[[], Client]


def measure(door: Door, questions: dict[str, list[Question]], clients: int) -> list[Measured]:
    """Ask all questions, one kind after the other, dealt out to so many clients at once."""
    opened = [door.open() for _ in range(clients)]
    try:
        for client in opened:
            client.ask(next(iter(questions.values()))[0])
        return [
            _kind(door, kind, [each for each in asked if _can_be_asked(door, each)], opened)
            for kind, asked in questions.items()
            if any(_can_be_asked(door, each) for each in asked)
        ]
    finally:
        for client in opened:
            client.close()


def _can_be_asked(door: Door, question: Question) -> bool:
    return "C-FIND" not in door.by or not (question.options or question.offset)


def _kind(door: Door, kind: str, questions: Sequence[Question], clients: Sequence[Client]) -> Measured:
    answers: list[tuple[float, int]] = []
    failed: list[BaseException] = []

    def work(client: Client, mine: Sequence[Question]) -> None:
        try:
            answers.extend(client.ask(each) for each in mine)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=(client, questions[turn :: len(clients)]))
        for turn, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    times = sorted(seconds * 1000 for seconds, _ in answers)
    return Measured(
        kind, door.by, door.caller, len(clients), len(times), statistics.median(found for _, found in answers),
        *(round(each, 2) for each in (statistics.median(times), _at(times, 0.95), _at(times, 0.99), times[-1])),
    )  # fmt: skip


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


# -- the index that is asked ---------------------------------------------------------------------------------------


@contextmanager
def filled(studies: int, folder: Path) -> Iterator[str]:
    """The address of an index that is filled with so many studies."""
    say(f"filling an index with {studies} studies")
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        environment = {**os.environ, "PACS_DATABASE__URL": postgres.url, "PACS_DATA_DIR": str(folder / "made")}
        command = [sys.executable, "-m", "archive.demo.generated", "--studies", str(studies)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        yield postgres.url
    finally:
        postgres.stop()


def largest_facility(connection: psycopg.Connection[Any]) -> str:
    """The code of the facility with the most studies."""
    row = connection.execute(
        "SELECT code FROM study JOIN facility ON facility.id = facility_id GROUP BY 1 ORDER BY count(*) DESC"
    ).fetchone()
    if row is None:
        raise SystemExit("there is no study in this index: python -m archive.demo.generated fills one")
    return str(row[0])


def write_settings(connection: psycopg.Connection[Any], path: Path, largest: str) -> None:
    """The facilities of the index, and two workstations: one of the province, one of the largest hospital."""
    lines = []
    for code, name in connection.execute("SELECT code, name FROM facility WHERE code <> 'UNKNOWN' ORDER BY code"):
        lines += ["[[facilities]]", f"code = {json.dumps(code)}", f"name = {json.dumps(name, ensure_ascii=False)}"]
    for title, sees in (("BENCH_ALL", "province"), ("BENCH_OWN", "own")):
        lines += ["[[peers]]", f'ae_title = "{title}"', f'facility = "{largest}"', f'sees = "{sees}"']
        lines += ['rights = ["find"]']
    path.write_text("\n".join(lines) + "\n")


def count_figures(url: str) -> None:
    """Have the figures of the index counted, which the web process would do beside the searches for many minutes."""
    settings = load(environ={}, database={"url": url})
    session = IndexSession(settings.database, "benchmarks")
    try:
        begin_feed(session)
        begin_figures(session)
        said = time.monotonic()
        for kept in catch_up(session, settings.figures):
            if time.monotonic() - said > _SAY_AFTER:
                said = time.monotonic()
                say(f"counting the figures: {kept.sweep} studies so far")
    finally:
        session.close()


def _tokens(url: str, folder: Path, running: Service, largest: str) -> dict[str, str]:
    """A token of a program that sees all, and of one of the hospital; the accounts are made anew each time."""
    settings = load(environ={}, data_dir=str(folder), database={"url": url}, log={"level": "ERROR"})
    tokens = {}
    with Archive.open(settings) as archive:
        for caller, facility in (("all", None), ("hospital", largest)):
            name = f"benchmark-{secrets.token_hex(4)}"
            secret = archive.people.accounts.create(
                OPERATOR, name, name, [Membership(Role.SERVICE, facility)], [Right.VIEW]
            )
            given = httpx.post(
                f"http://127.0.0.1:{running.web_port}/oauth/token",
                data={"grant_type": "client_credentials"},
                auth=(name, secret),
            )
            tokens[caller] = given.raise_for_status().json()["access_token"]
    return tokens


def _doors(running: Service, tokens: dict[str, str]) -> list[Door]:
    titles = {"all": "BENCH_ALL", "hospital": "BENCH_OWN"}
    found = []
    for caller, token in tokens.items():
        found.append(Door("QIDO-RS", caller, lambda token=token: Qido(running.web_port, token)))  # type: ignore[misc]
        title = titles[caller]
        found.append(Door("C-FIND", caller, lambda title=title: Finder(running.dicom_port, title)))  # type: ignore[misc]
    return found


def _sizes(connection: psycopg.Connection[Any]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT relname::text, reltuples::bigint FROM pg_class WHERE relname = ANY(%s)",
        (["patient", "study", "series", "instance"],),
    )
    return {name: max(count, 0) for name, count in rows}


# -- what is written -----------------------------------------------------------------------------------------------


def table(found: Sequence[Measured]) -> list[str]:
    """Markdown: a line for each kind and way, those that miss the goal marked."""
    lines = [
        "| question | by | caller | clients | asked | matches (median) | p50 ms | p95 ms | p99 ms | worst ms |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for each in found:
        p99 = f"**{each.p99:.1f}**" if each.p99 > GOAL_MS else f"{each.p99:.1f}"
        lines.append(
            f"| {each.kind} | {each.by} | {each.caller} | {each.clients} | {each.asked} | {each.matches:.0f} "
            f"| {each.p50:.1f} | {each.p95:.1f} | {p99} | {each.worst:.1f} |"
        )
    return lines


def _write(name: str, facts: dict[str, Any], found: Sequence[Measured]) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    facts = {**facts, **machine()}
    result = {"benchmark": name, "facts": facts, "measured": [asdict(each) for each in found]}
    (TARGET / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False))
    heading = ", ".join(
        f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}" for key, value in facts.items()
    )
    (TARGET / f"{name}.md").write_text("\n".join((f"# {name}", "", heading, "", *table(found))) + "\n")


# -- running -------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    parser = Parser("query", __doc__)
    parser.add_argument("--database", default="", help="URL of a filled index; without it small ones are made")
    parser.add("--studies", [5000, 50_000], [2000, 10_000], nargs="+", type=int, help="in each index that is made")
    parser.add_argument("--small", action="store_true", help="ask small indexes, too, beside the filled one")
    parser.add("--draws", 200, 40, type=int, help="questions of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add("--clients", [1, 4], [1], type=int, nargs="*", help="at once")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="parts of their names")
    parser.add_argument("--by", nargs="*", default=["QIDO-RS", "C-FIND"])
    parser.add_argument("--callers", nargs="*", default=["all", "hospital"])
    parser.add_argument("--name", default="query", help="of the files that are written")
    given = parser.read(arguments)
    kinds = [kind for kind in KINDS if any(part in kind for part in given.kinds)]
    if given.database:
        with scratch() as folder:
            _run(given, given.database, folder, kinds, given.name)
        if not given.small:
            return 0
        kinds, given.clients = [kind for kind in kinds if kind in QUERIES], [1]
    for number in given.studies:
        with scratch() as folder, filled(number, folder) as url:
            _run(given, url, folder, kinds, f"{given.name}-{number}")
    return 0


def _run(given: argparse.Namespace, url: str, folder: Path, kinds: Sequence[str], name: str) -> None:
    found: list[Measured] = []
    with psycopg.connect(url, autocommit=True) as connection:
        largest = largest_facility(connection)
        write_settings(connection, folder / "pacs.toml", largest)
        asked = {
            caller: draw(studies(connection, given.seed, given.draws, facility), given.seed, kinds)
            for caller, facility in (("all", None), ("hospital", largest))
        }
        facts = {**_sizes(connection), "draws": given.draws, "seed": given.seed}
    count_figures(url)
    with ExitStack() as stack:
        running = stack.enter_context(
            service(
                folder / "data",
                url,
                PACS_CONFIG=str(folder / "pacs.toml"),
                PACS_ACCESS__SIGN_IN="required",
                PACS_ACCESS__TOKEN_MINUTES="600",
                # All patients of a generated index are new: to link a million takes an hour beside the searches.
                PACS_IDENTITY__LINK="off",
            )
        )
        say(f"node: process {running.node}, web: process {running.web}")
        doors = _doors(running, _tokens(url, folder / "data", running, largest))
        print("\n".join(table([])), flush=True)
        for clients in given.clients:
            for door in doors:
                if door.by in given.by and door.caller in given.callers:
                    say(f"{name}: {door.by}, caller {door.caller}, {clients} at once")
                    new = measure(door, asked[door.caller], clients)
                    print("\n".join(table(new)[2:]), flush=True)
                    found += new
                    _write(name, facts, found)
