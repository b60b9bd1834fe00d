"""Texts of the pages in Vietnamese and English, all from ``catalogue.toml``."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.responses import Response

from archive.core import Archive

LANGUAGES: Final = ("vi", "en")
COOKIE: Final = "lang"
_A_YEAR: Final = 365 * 24 * 3600
CATALOGUE: Final = Path(__file__).with_name("catalogue.toml")


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = {key: entry[language] for key, entry in catalogue().items()}

    def __call__(self, key: str, **values: object) -> str:
        """The text under a key, with values put in. A key that does not exist is a mistake of the page."""
        return self._texts[key].format(**values)

    def get(self, key: str) -> str | None:
        """The text under a key made of data, such as the name of a modality; None if there is none."""
        return self._texts.get(key)


@lru_cache(maxsize=1)
def catalogue() -> dict[str, dict[str, str]]:
    """Every text: key to language to text."""
    return tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))


@lru_cache(maxsize=len(LANGUAGES))
def texts(language: str) -> Texts:
    """The texts of a language."""
    return Texts(language)


def language_of(request: Request) -> str:
    """``?lang=``, else what was chosen before, else the setting.

    The browser's own preference is left alone: most browsers in Vietnam are installed in English.
    """
    archive: Archive = request.app.state.archive
    for wanted in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return wanted
    return archive.settings.web.language


def remember(response: Response, request: Request) -> None:
    """Keep a language chosen by ``?lang=`` for the next requests."""
    wanted = request.query_params.get("lang")
    if wanted in LANGUAGES:
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, wanted, max_age=_A_YEAR, samesite="lax", secure=secure, httponly=True)
