"""Sends short messages by the gateway of the settings; see `config.links.MessageGateway`."""

from __future__ import annotations

import time
import uuid

import orjson

from archive.errors import Unavailable
from config.links import MessageGateway
from viewer_api.outgoing import CannotSend, Sender
from viewer_api.webhooks import signature


def send_message(gateway: MessageGateway, phone: str, text: str) -> None:
    """Hand a message to the gateway. Raises `Unavailable` if it did not take it."""
    body = orjson.dumps({"to": phone, "text": text})
    identifier, now = uuid.uuid4().hex, int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "provincial-pacs",
        "Webhook-Id": identifier,
        "Webhook-Timestamp": str(now),
        "Webhook-Signature": signature(gateway.secret.get_secret_value(), identifier, now, body),
    }
    sender = Sender(gateway.url, gateway.timeout, gateway.ca_file)
    try:
        status = sender.post(headers, body)
    except CannotSend as error:
        raise Unavailable(f"the message gateway cannot be reached: {error}") from None
    finally:
        sender.close()
    if not 200 <= status < 300:
        raise Unavailable(f"the message gateway answered with status {status}")
