"""Where else somebody is to sign out who signs out here."""

from __future__ import annotations

import logging

from starlette.requests import HTTPConnection

from archive.core import Archive
from config.logs import fields
from viewer_api.addresses import base_url
from viewer_api.oidc.errors import ProviderDown
from viewer_api.oidc.flow import end_address
from viewer_api.oidc.provider import Provider
from viewer_api.sign_in.returning import SIGN_IN

log = logging.getLogger(__name__)


def way_out(connection: HTTPConnection, archive: Archive, session: int) -> str:
    """The address at the provider where the session began; empty if there is none, or it does not answer."""
    name, token = archive.people.federation.origin(session)
    provider: Provider | None = connection.app.state.providers.get(name)
    if provider is None:
        return ""
    try:
        return end_address(provider, token, base_url(connection) + SIGN_IN)
    except ProviderDown as error:
        provider_failed(name, error)
        return ""


def provider_failed(name: str, error: ProviderDown) -> None:
    """Write into the log that a provider did not do its part."""
    log.warning("a provider of sign-in does not answer", extra=fields(provider=name, reason=str(error)))
