"""Webhooks as an operator has them: over TLS with an authority of one's own, by the command, in the numbers."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from archive.core import Archive
from archive.index_session import IndexSession
from config.feed import FeedSettings, Webhook
from config.settings import Settings
from tests.certificates import Authority, Pair
from tests.integration.archive.support import sql
from tests.integration.archive.test_cli import run
from tests.integration.archive.test_corrections import image, send
from tests.integration.dicom_node.running import wait_until
from tests.integration.viewer_api.test_webhooks import (
    QUICK,
    SECRET,
    Receiver,
    hook,
    opened,
    put,
    receiver,  # noqa: F401
    session,  # noqa: F401
    settled,
)
from tests.web_server import serving
from viewer_api.app import create_app
from viewer_api.webhooks import WebhookDelivery

PATIENT = FeedSettings(quiet=1000, first_wait=10_000, longest_wait=10_000)


# -- over TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@contextmanager
def secure(pair: Pair) -> Iterator[Receiver]:
    """A receiver that shows this certificate."""
    with Receiver() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.let_go.set()
            server.shutdown()
            thread.join()


def https(server: Receiver, **values: Any) -> Webhook:
    return hook(server, url=server.url.replace("http://", "https://"), **values)


def test_a_receiver_with_a_certificate_of_the_hospital_s_own_authority(
    archive: Archive,
    session: IndexSession,  # noqa: F811
    authority: Authority,
) -> None:
    own = authority.pair("his", names=("127.0.0.1",))
    with secure(own) as server:
        webhook = https(server, ca_file=authority.file, most=2)
        with opened(archive, webhook) as web, WebhookDelivery(web, 0.02):
            put(archive, session, 5)
            wait_until(lambda: settled(archive), "all is delivered")
    assert server.sequences() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("kind", "trusted", "said"),
    [
        ("of another authority", "other", "CERTIFICATE_VERIFY_FAILED"),
        ("of an authority that nobody has named", "", "CERTIFICATE_VERIFY_FAILED"),
        ("for another name", "ca", "IP address mismatch"),
        ("that is over", "ca", "expired"),
    ],
)
def test_nothing_is_sent_to_a_receiver_with_a_certificate(
    archive: Archive,
    session: IndexSession,  # noqa: F811
    authority: Authority,
    tmp_path: Path,
    kind: str,
    trusted: str,
    said: str,
) -> None:
    files = {"ca": authority.file, "other": Authority(tmp_path / "tls", "other").file, "": None}
    names = ("his.example",) if "name" in kind and "nobody" not in kind else ("127.0.0.1",)
    own = authority.pair("his", names=names, days=-1 if "over" in kind else 20)
    with secure(own) as server:
        webhook = https(server, ca_file=files[trusted])
        with opened(archive, webhook, settings=PATIENT) as web, WebhookDelivery(web, 0.02):
            put(archive, session, 1)
            wait_until(lambda: web.webhooks.list()[0].failures == 1, "it was tried")
            assert said in web.webhooks.list()[0].error
    assert server.requests == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file /nowhere/ca.pem: No such file"),
        ({"ca_file": __file__}, "ca_file"),
        ({"ca_file": "FILE", "url": "http://his.example/x"}, "ca_file goes with a url that begins with https"),
    ],
)
def test_authorities_that_cannot_be_used_stop_the_start(
    authority: Authority, values: dict[str, Any], said: str
) -> None:
    if values["ca_file"] == "FILE":
        values = {**values, "ca_file": authority.file}
    with pytest.raises(ValueError, match=said):
        Webhook(**{"name": "his", "url": "https://his.example/x", "secret": SECRET, **values})


# -- kinds -------------------------------------------------------------------------------------------------------------


def test_what_was_corrected_is_told(
    settings: Settings,
    session: IndexSession,  # noqa: F811
    receiver: Receiver,  # noqa: F811
) -> None:
    """After settings changed, a receiver that keeps names must ask again."""

    def with_peer(**peer: Any) -> Settings:
        values = {**settings.model_dump(), "webhooks": [hook(receiver, kinds=["corrected"])], "feed": QUICK}
        values["peers"] = [{"ae_title": "XQ1", "facility": "86001", **peer}]
        values["database"]["url"] = settings.database.url.get_secret_value()
        return Settings.model_validate(values)

    sent = image()
    with Archive.open(with_peer()) as before:
        send(before, sent)
        put(before, session, 0)
    with Archive.open(with_peer(coerce={"prefix": {"PatientID": "T-"}})) as web, WebhookDelivery(web, 0.02):
        assert web.corrections.reapply().changed == 1
        put(web, session, 0)
        wait_until(lambda: bool(receiver.taken) and settled(web), "it was told")
    (change,) = (change for body in receiver.taken for change in body["changes"])
    assert (change["kind"], change["study"]) == ("corrected", sent[1])
    assert "T-" not in json.dumps(change)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(archive: Archive, receiver: Receiver, tmp_path: Path) -> Callable[..., CompletedProcess[str]]:  # noqa: F811
    """``python -m archive webhooks`` with the receiver in its settings."""
    file = tmp_path / "pacs.toml"
    file.write_text(f'[[webhooks]]\nname = "his"\nurl = "{receiver.url}"\nsecret = "{SECRET}"\n')

    def call(*arguments: str) -> CompletedProcess[str]:
        return run(archive.settings, "webhooks", *arguments, PACS_CONFIG=str(file))

    return call


def test_the_command_lists_pauses_resumes_retries_and_skips(
    archive: Archive,
    session: IndexSession,  # noqa: F811
    receiver: Receiver,  # noqa: F811
    command: Callable[..., CompletedProcess[str]],
) -> None:
    listed = command()
    assert (listed.returncode, listed.stdout) == (0, "there are no webhooks\n")
    receiver.answers = [500, 503]
    with opened(archive, hook(receiver, most=1), settings=PATIENT) as web, WebhookDelivery(web, 0.02):
        listed = command("list")
        assert (listed.returncode, listed.stdout) == (
            0,
            "his                      idle      waiting 0, last delivered never\n",
        )

        put(archive, session, 2)
        wait_until(lambda: web.webhooks.list()[0].failures == 1, "it failed")
        listed = command("list")
        assert listed.returncode == 1
        assert "his                      failing   waiting 2, last delivered never\n" in listed.stdout
        assert "  failed 1 times in a row: answered with status 500; tried again 2" in listed.stdout
        assert SECRET not in listed.stdout + listed.stderr

        done = command("retry", "his")
        assert (done.returncode, done.stdout) == (0, "his: retry is done\n")
        wait_until(lambda: web.webhooks.list()[0].failures == 2, "it failed again")

        assert command("pause", "his").returncode == 0
        assert "paused" in command().stdout
        assert command("skip", "his").returncode == 0
        put(archive, session, 1, first=10)
        assert "his                      paused    waiting 1," in command().stdout
        assert len(receiver.requests) == 2

        assert command("resume", "his").returncode == 0
        wait_until(lambda: receiver.sequences() == [3], "what came after is delivered")
        wait_until(lambda: settled(archive), "and noted")
    listed = command()
    assert listed.returncode == 0
    assert "waiting 0, last delivered 2" in listed.stdout


def test_the_command_tells_of_what_was_lost_and_of_what_is_no_more_in_the_settings(
    archive: Archive,
    session: IndexSession,  # noqa: F811
    receiver: Receiver,  # noqa: F811
    command: Callable[..., CompletedProcess[str]],
) -> None:
    with opened(archive, hook(receiver), hook(receiver, name="old")) as web, WebhookDelivery(web, 0.02):
        pass
    put(archive, session, 1)
    sql(archive, "UPDATE webhook_cursor SET lost = 7 WHERE name = 'his'")
    listed = command()
    assert listed.returncode == 1
    assert "  7 changes were deleted because of their age before it took them\n" in listed.stdout
    assert "old                      unlisted  waiting 1," in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("pause",), 2, "pause needs the name of a webhook"),
        (("retry", "nobody"), 1, "there is no webhook nobody; it comes to be when the web service starts"),
        (("forget", "his"), 2, "invalid choice"),
    ],
)
def test_the_command_says_what_it_cannot_do(
    command: Callable[..., CompletedProcess[str]], arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = command(*arguments)
    assert done.returncode == code
    assert said in done.stderr


# -- numbers -----------------------------------------------------------------------------------------------------------


def samples(url: str) -> dict[str, float]:
    """Of webhooks and storage commitment, as ``name{label}``."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith(("pacs_webhook", "pacs_commitment")) and not sample.name.endswith("_created")
    }


def test_numbers_tell_what_was_delivered_what_failed_and_for_how_long_it_waits(
    archive: Archive,
    session: IndexSession,  # noqa: F811
    receiver: Receiver,  # noqa: F811
) -> None:
    receiver.answers = [200, 500]
    webhooks = hook(receiver, most=2), hook(receiver, name="off", enabled=False)
    with opened(archive, *webhooks, settings=PATIENT) as web:
        app = create_app(web)
        with serving(app) as url, WebhookDelivery(web, 0.02, app.state.metrics):
            sql(archive, "INSERT INTO webhook_cursor (name, position) VALUES ('off', 0)")
            put(archive, session, 2)
            wait_until(lambda: settled(archive) or web.webhooks.list()[0].waiting == 0, "it is delivered")
            put(archive, session, 3, first=10)
            wait_until(lambda: web.webhooks.list()[0].failures == 1, "the next failed")
            sql(archive, "UPDATE change SET at = at - interval '1 hour' WHERE sequence = 3")
            found = samples(url)
            assert found["pacs_webhook_requests_total{delivered,his}"] == 1
            assert found["pacs_webhook_requests_total{failed,his}"] == 1
            assert found["pacs_webhook_changes_total{his}"] == 2
            assert (found["pacs_webhook_waiting{his}"], found["pacs_webhook_failing{his}"]) == (3, 1)
            assert 3600 <= found["pacs_webhook_oldest_seconds{his}"] < 7200
            assert found["pacs_webhook_lost{his}"] == 0
            # Nobody is to be woken for what was turned off.
            assert "pacs_webhook_oldest_seconds{off}" not in found
            web.webhooks.skip("his")
            assert samples(url)["pacs_webhook_oldest_seconds{his}"] == 0


def test_numbers_of_storage_commitment(archive: Archive) -> None:
    with serving(create_app(archive)) as url:
        assert samples(url) == {
            f"pacs_commitment_{name}{{{direction}}}": 0
            for name in ("open", "failing", "failed", "oldest_seconds")
            for direction in ("in", "out")
        }
        sql(
            archive,
            """INSERT INTO commitment_request (transaction_uid, ae_title, called_ae_title, address, facility, view,
                                               content, duplicate, state, home, item_count, attempts, received_at)
               SELECT '1.2.' || n, 'CT1', 'PACS', '', '86001', 'clinical', '', false,
                      (ARRAY['received', 'ready', 'delivered', 'failed', 'failed'])[n], 1, 1, n - 1,
                      now() - make_interval(hours => n)
                 FROM generate_series(1, 5) AS n""",
        )
        sql(
            archive,
            """INSERT INTO commitment_order (ae_title, transaction_uid, state, item_count)
               VALUES ('OTHER', '1.3', 'asked', 1), ('OTHER', '1.4', 'answered', 1)""",
        )
        found = samples(url)
    assert [found[f"pacs_commitment_{name}{{in}}"] for name in ("open", "failing", "failed")] == [2, 1, 2]
    assert 7200 <= found["pacs_commitment_oldest_seconds{in}"] < 10800
    assert [found[f"pacs_commitment_{name}{{out}}"] for name in ("open", "failing", "failed")] == [1, 0, 0]
