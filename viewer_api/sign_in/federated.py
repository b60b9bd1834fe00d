"""Sign-in at a provider (``[[oidc]]``): there, back, and the word of the provider that somebody has signed out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import NotFound, Unavailable
from archive.people.errors import SessionEnded, WrongCredentials
from archive.people.signatures import LONGEST
from viewer_api.addresses import address_of, base_url
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN
from viewer_api.oidc.errors import BadAnswer, ProviderDown
from viewer_api.oidc.flow import SECONDS, begin, finish
from viewer_api.oidc.provider import Provider
from viewer_api.oidc.tokens import OLDEST, logout
from viewer_api.problems import problem_of
from viewer_api.sign_in.cookies import forget_ticket, keep_ticket, ticket_of
from viewer_api.sign_in.leaving import provider_failed
from viewer_api.sign_in.pages import end_before, forget_known, form, go, go_on
from viewer_api.sign_in.returning import safe

router = APIRouter(prefix="/sign-in/oidc/{name}", include_in_schema=False, dependencies=[OPEN])

_LONGEST_QUERY = 8192


@router.get("")
def leave(request: Request, archive: ArchiveDep, name: str, to: str = "") -> Response:
    """To the provider."""
    provider = _provider(request, name)
    if archive.settings.access.sign_in == "off":
        return go(safe(to))
    if request.app.state.throttle.is_shut(address_of(request)):
        return form(request, archive, None, to, "sign_in_throttled", HTTPStatus.TOO_MANY_REQUESTS)
    try:
        address, ticket = begin(provider, archive.people.tickets, _redirect(request, name), safe(to))
    except ProviderDown as error:
        provider_failed(name, error)
        return form(request, archive, None, to, "sign_in_provider_down", HTTPStatus.SERVICE_UNAVAILABLE)
    response = RedirectResponse(address, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    keep_ticket(response, request, ticket, SECONDS)
    return response


@router.get("/back")
def come_back(request: Request, archive: ArchiveDep, name: str) -> Response:
    """From the provider, with a code or with its refusal."""
    provider, host, throttle = _provider(request, name), address_of(request), request.app.state.throttle
    if throttle.is_shut(host):
        return form(request, archive, None, "", "sign_in_throttled", HTTPStatus.TOO_MANY_REQUESTS)
    try:
        response = _entered(request, archive, provider)
    except (BadAnswer, WrongCredentials, SessionEnded) as error:
        throttle.failed(host)
        if isinstance(error, BadAnswer):
            archive.people.federation.refuse(name, host, str(error))
        key = "sign_in_provider_failed" if isinstance(error, BadAnswer) else "sign_in_provider_unknown"
        response = form(request, archive, None, "", key, HTTPStatus.FORBIDDEN)
    except ProviderDown as error:
        provider_failed(name, error)
        response = form(request, archive, None, "", "sign_in_provider_down", HTTPStatus.SERVICE_UNAVAILABLE)
    except Unavailable as error:
        response = form(request, archive, None, "", "error_unavailable", problem_of(error).status)
    forget_ticket(response, request)
    return response


@router.post("/logout")
def signed_out_there(
    request: Request,
    archive: ArchiveDep,
    name: str,
    logout_token: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """The provider says that somebody has signed out there (Back-Channel Logout 2.5)."""
    provider, host, throttle = _provider(request, name), address_of(request), request.app.state.throttle
    headers = {"Cache-Control": "no-store"}
    if throttle.is_shut(host):
        return Response(status_code=HTTPStatus.TOO_MANY_REQUESTS, headers=headers)
    try:
        claims = logout(provider, logout_token)
        if not archive.people.tickets.spend("logout", f"{name} {claims['jti']}", 2 * OLDEST):
            raise BadAnswer("this logout token has been used")
    except BadAnswer as error:
        throttle.failed(host)
        archive.people.federation.refuse(name, host, str(error))
        return Response(status_code=HTTPStatus.BAD_REQUEST, headers=headers)
    except ProviderDown as error:
        provider_failed(name, error)
        return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)
    subject, session = (str(claims.get(key) or "") for key in ("sub", "sid"))
    archive.people.federation.signed_out_there(provider.settings, subject, session, host)
    forget_known(request)
    return Response(status_code=HTTPStatus.OK, headers=headers)


def _entered(request: Request, archive: Archive, provider: Provider) -> Response:
    if len(request.url.query) > _LONGEST_QUERY:
        raise BadAnswer("the answer is too long")
    answer = dict(request.query_params)
    if len(answer) != len(request.query_params.multi_items()):
        raise BadAnswer("the answer says something twice")
    vouched, to = finish(provider, archive.people.tickets, ticket_of(request), answer)
    host, agent = address_of(request), request.headers.get("user-agent", "")
    step = archive.people.federation.enter(provider.settings, vouched, host, agent)
    end_before(request, archive)
    return go_on(request, step, to)


def _provider(request: Request, name: str) -> Provider:
    provider: Provider | None = request.app.state.providers.get(name)
    if provider is None:
        raise NotFound("there is no such provider")
    return provider


def _redirect(request: Request, name: str) -> str:
    return f"{base_url(request)}/sign-in/oidc/{name}/back"
