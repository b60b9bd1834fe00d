"""The change feed over HTTP: lists, long polls, server-sent events, and what is answered when it cannot go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from archive.core import Archive
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.integration.dicom_node.running import wait_until
from tests.rejection_notes import SAFETY, note
from tests.web_server import serving
from viewer_api.app import create_app

CHANGES = "/dicom-web/changes"
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return Settings.model_validate({**settings.model_dump(), "feed": {"quiet": 1000, "most_listeners": 2}})


@pytest.fixture
def web(archive: Archive) -> Iterator[httpx.Client]:
    with (
        archive.recorder(0.05),
        serving(create_app(archive)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


def put(archive: Archive, count: int, first: int = 0) -> list[str]:
    """Store some; wait until the feed has them."""
    before = archive.feed.state().latest
    images = [ct_image(seed=first + n) for n in range(count)]
    for image in images:
        store(archive, image)
    wait_until(lambda: archive.feed.state().latest == before + count, "the feed has them")
    return [image.SOPInstanceUID for image in images]


def get(web: httpx.Client, **parameters: Any) -> dict[str, Any]:
    response = web.get(CHANGES, params=parameters)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_lists_go_on_where_the_last_ended(archive: Archive, web: httpx.Client) -> None:
    stored = put(archive, 5)
    first = get(web, limit=2)
    assert (first["next"], first["latest"]) == (2, 5)
    rest = get(web, since=first["next"])
    assert [change["instance"] for change in first["changes"] + rest["changes"]] == stored
    assert get(web, since=5) == {"changes": [], "next": 5, "latest": 5}
    assert get(web, kind="hidden,shown") == {"changes": [], "next": 5, "latest": 5}
    assert len(get(web, facility="86001")["changes"]) == 5
    assert get(web, facility="86002")["changes"] == []
    change = first["changes"][0]
    assert set(change) == {"sequence", "kind", "at", "facility", "study", "series", "instance", "sopClass"}
    assert "BN0001" not in web.get(CHANGES).text


@pytest.mark.parametrize(
    "query",
    [
        *("since=-1", "since=x", "since=1&since=2", "since=99999999999999999999", "limit=0", "limit=1001", "wait=61"),
        *("kind=gone", "patient=1", "view=all", "facility=%00"),
    ],
)
def test_what_cannot_be_understood(web: httpx.Client, query: str) -> None:
    assert web.get(f"{CHANGES}?{query}").status_code == 400
    assert web.get(f"{CHANGES}?{query}", headers=STREAM).status_code == 400


def test_views_that_are_not_open_and_other_forms(web: httpx.Client) -> None:
    assert web.get(f"{CHANGES}?view=everything").status_code == 403
    assert web.get(CHANGES, headers={"Accept": "image/png"}).status_code == 406


def test_a_since_that_is_not_kept_or_was_never_reached_is_gone(archive: Archive, web: httpx.Client) -> None:
    put(archive, 3)
    sql(archive, "DELETE FROM change WHERE sequence <= 2")
    sql(archive, "UPDATE feed_cursor SET forgotten = 2")
    for since in (1, 4):
        for headers in ({}, STREAM):
            response = web.get(CHANGES, params={"since": since}, headers=headers)
            assert response.status_code == 410
            assert response.json()["type"] == "urn:pacs:problem:forgotten"
    assert [change["sequence"] for change in get(web)["changes"]] == [3]


def test_a_long_poll_is_answered_when_something_comes(archive: Archive, web: httpx.Client) -> None:
    put(archive, 1)
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(get(web, since=1, wait=60)))
    asking.start()
    (uid,) = put(archive, 1, first=1)
    asking.join()
    assert [change["instance"] for change in answers[0]["changes"]] == [uid]
    assert get(web, since=2, wait=1) == {"changes": [], "next": 2, "latest": 2}


class Events:
    """A client of the stream as browsers have it: remembers the last id, and gives it when it connects again."""

    def __init__(self, web: httpx.Client, **parameters: Any) -> None:
        self._web, self._parameters = web, parameters
        self.last_id: str | None = None
        self.seen: list[dict[str, Any]] = []

    def read(self, count: int) -> None:
        """Connect, read so many events, hang up."""
        headers = STREAM | ({"Last-Event-ID": self.last_id} if self.last_id is not None else {})
        with self._web.stream("GET", CHANGES, headers=headers, params=self._parameters) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            event: dict[str, str] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    event[name] = value
                elif not line:
                    self.last_id = event.get("id", self.last_id)
                    if "data" in event:
                        self.seen.append(orjson.loads(event["data"]))
                        assert event["event"] == self.seen[-1]["kind"]
                        assert event["id"] == str(self.seen[-1]["sequence"])
                        count -= 1
                    event = {}
                    if not count:
                        return


def test_a_stream_that_breaks_goes_on_without_loss_and_doubles(archive: Archive, web: httpx.Client) -> None:
    stored = put(archive, 3)
    events = Events(web, since=0)
    events.read(2)
    events.read(1)
    reading = threading.Thread(target=events.read, args=(4,))
    reading.start()
    stored += put(archive, 2, first=10)
    stored += put(archive, 2, first=20)
    reading.join()
    assert [change["instance"] for change in events.seen] == stored
    assert [change["sequence"] for change in events.seen] == list(range(1, 8))


def test_a_stream_tells_what_is_hidden_as_hidden_only(archive: Archive, web: httpx.Client) -> None:
    image = ct_image()
    store(archive, image)
    store(archive, note([image], SAFETY))
    wait_until(lambda: archive.feed.state().latest == 3, "the feed has it")
    events = Events(web)
    events.read(1)
    assert [(change["kind"], change["instance"]) for change in events.seen] == [("hidden", image.SOPInstanceUID)]


def test_more_listeners_than_allowed_are_sent_away(archive: Archive, web: httpx.Client) -> None:
    put(archive, 1)
    with web.stream("GET", CHANGES, headers=STREAM) as one, web.stream("GET", CHANGES, headers=STREAM) as two:
        reading = [response.iter_lines() for response in (one, two)]
        assert [next(lines) for lines in reading] == ["id: 1", "id: 1"]
        refused = web.get(CHANGES, params={"since": 1, "wait": 1})
        assert refused.status_code == 503
        assert web.get(CHANGES, headers=STREAM).status_code == 503
        assert len(get(web)["changes"]) == 1


def test_streams_end_when_the_process_is_to_stop(archive: Archive) -> None:
    app = create_app(archive)
    with (
        serving(app) as address,
        httpx.Client(base_url=address, timeout=60) as client,
        client.stream("GET", CHANGES, headers=STREAM) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == ": here"
        app.state.listeners.stopping = True
        assert [line for line in lines if line.startswith("data")] == []
