"""The province's figures for programs and spreadsheets (docs/indicators.md): counts, never names.

A caller counts the facilities for which it has the right to statistics. Answers carry an ETag of what they say, so that
who asks again gets 304 while nothing has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.errors import InvalidQuery
from archive.figures.files import as_csv, as_parquet, as_xlsx, described
from archive.figures.indicators import BREAKDOWNS, MEASURES
from archive.figures.question import Answer, By, Measure, Question
from archive.people.roles import Right
from config import clock
from viewer_api.addresses import DICOMWEB
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs

router = APIRouter(prefix="/index", tags=["Figures"], dependencies=[needs(Right.STATISTICS)])

CSV: Final = "text/csv; charset=utf-8"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PARQUET: Final = "application/vnd.apache.parquet"
_FILES: Final = {"csv": (CSV, as_csv), "xlsx": (XLSX, as_xlsx), "parquet": (PARQUET, as_parquet)}
_OF_TYPE: Final = {"text/csv": "csv", XLSX: "xlsx", PARQUET: "parquet"}
_TIMES: Final = frozenset((By.HOUR, By.DAY, By.WEEK, By.MONTH, By.QUARTER, By.YEAR))
_NARROWING: Final = tuple(each for each in By if each not in _TIMES)
_MOST: Final = 200
"""Values of one filter."""
_NO_STORE: Final = {"Cache-Control": "private, no-cache"}


def _parameter(name: str, about: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": about, "schema": {"type": "string", **schema}}


_PARAMETERS: Final[list[dict[str, Any]]] = [
    _parameter("measure", f"What is counted, with commas between: {', '.join(Measure)}.", default="studies"),
    _parameter("by", f"What it is broken down by, with commas between: {', '.join(By)}."),
    _parameter("since", "Date or time; without a zone, that of Vietnam. The first of this year without it."),
    _parameter("until", "Date or time behind the last; the beginning of tomorrow without it."),
    *(_parameter(name.value, f"Only these, with commas between: {BREAKDOWNS[name].en}.") for name in _NARROWING),
    _parameter(
        "public", "Whether small counts are held back, for figures that are made public.", enum=["true", "false"]
    ),
    _parameter("format", "Wins over the Accept header.", enum=["json", *_FILES]),
    _parameter("language", "Of headings in files.", enum=["vi", "en"], default="vi"),
]
_NAMES: Final = frozenset(each["name"] for each in _PARAMETERS)


@router.get(
    "/figures", summary="Counts", response_class=Response, openapi_extra={"parameters": _PARAMETERS}, name="figures"
)
def figures(request: Request, archive: ArchiveDep) -> Response:
    """Counts of studies by time, facility, modality and so on, as JSON, CSV, XLSX or Parquet."""
    parameters = request.query_params
    if unknown := sorted({*parameters.keys()} - _NAMES):
        raise InvalidQuery(f"no such parameter: {unknown[0][:64]}")
    form = _format(request)
    language = _one_of(parameters.get("language", "vi"), ("vi", "en"), "language")
    question = question_of(parameters, known_caller(request).rights[Right.STATISTICS])
    _note(request, archive, question, form)
    answer = archive.figures.ask(question)
    tag = _tag(answer, form, language)
    headers = {"ETag": tag, "Vary": "Accept, Authorization, Cookie", **_NO_STORE}
    if tag in [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if form == "json":
        studies = None if question.public else _studies(request, question)
        body = orjson.dumps({**described(question, answer), "studies": studies})
        return Response(body, headers=headers, media_type="application/json")
    media_type, write = _FILES[form]
    name = f"figures-{clock.now():%Y%m%d-%H%M}.{form}"
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    body = write(question, answer, datetime.now(UTC), language, archive.settings.facility_names)
    return Response(body, headers=headers, media_type=media_type)


@router.get(
    "/now", summary="Live counters, facilities, devices, queues and alerts", response_class=Response, name="figures_now"
)
def now(request: Request, archive: ArchiveDep) -> Response:
    """How things stand; storage, queues and devices of the province for who may count all of it."""
    where = known_caller(request).rights[Right.STATISTICS]
    archive.looks.note(AuditEvent(Action.SEARCH, who(request), detail={"what": "figures now"}), about="now")
    body = {
        "now": asdict(archive.figures.now(where)),
        **asdict(archive.figures.gateways(where)),
        "alerts": [asdict(each) for each in archive.figures.alerts(where)],
        **({"storage": asdict(archive.figures.forecast())} if where is None else {}),
    }
    return Response(orjson.dumps(body), headers=_NO_STORE, media_type="application/json")


@router.get("/indicators", summary="What can be asked for", response_class=Response, name="figures_indicators")
def indicators() -> Response:
    """Measures and breakdowns with their names and units."""
    body = {
        "measures": [{"name": each.value, **name._asdict()} for each, name in MEASURES.items()],
        "breakdowns": [{"name": each.value, "vi": name.vi, "en": name.en} for each, name in BREAKDOWNS.items()],
    }
    return Response(orjson.dumps(body), media_type="application/json")


def question_of(parameters: Mapping[str, str], facilities: frozenset[str] | None) -> Question:
    """What is asked. Raises `InvalidQuery`."""
    return Question(
        measures=tuple(_members(Measure, parameters.get("measure") or Measure.STUDIES.value, "measure")),
        by=tuple(_members(By, parameters.get("by", ""), "by")),
        since=_moment(parameters.get("since", ""), "since")
        or datetime.combine(clock.today().replace(month=1, day=1), time()),
        until=_moment(parameters.get("until", ""), "until")
        or datetime.combine(clock.today() + timedelta(days=1), time()),
        where={name: _values(parameters[name.value], name) for name in _NARROWING if name.value in parameters},
        facilities=facilities,
        public=_one_of(parameters.get("public", "false"), ("true", "false"), "public") == "true",
    )


def _members(kind: Any, given: str, name: str) -> list[Any]:
    found = []
    for text in filter(None, (part.strip() for part in given.split(","))):
        try:
            found.append(kind(text))
        except ValueError:
            raise InvalidQuery(f"{name} cannot be {text[:64]}; it is of {', '.join(kind)}") from None
    return list(dict.fromkeys(found))


def _values(given: str, name: By) -> tuple[str, ...]:
    values = tuple(part.strip() for part in given.split(","))
    if len(values) > _MOST or any("\x00" in value or len(value) > 64 for value in values):
        raise InvalidQuery(f"{name.value} has too many values, or one that is too long")
    if name in (By.HOUR_OF_DAY, By.DAY_OF_WEEK) and not all(value.isascii() and value.isdigit() for value in values):
        raise InvalidQuery(f"{name.value} is a number")
    return values


def _moment(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        # The + of a zone is a blank in a URL that was not encoded.
        return datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise InvalidQuery(f"{name} is a date such as 2026-11-22 or a time such as 2026-11-22T14:00") from None


def _one_of(text: str, known: Iterable[str], name: str) -> str:
    if text not in known:
        raise InvalidQuery(f"{name} is one of {', '.join(known)}")
    return text


def _format(request: Request) -> str:
    if given := request.query_params.get("format"):
        return _one_of(given, ("json", *_FILES), "format")
    wanted = (part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(","))
    return next((_OF_TYPE[each] for each in wanted if each in _OF_TYPE), "json")


def _tag(answer: Answer, form: str, language: str) -> str:
    said = orjson.dumps([form, language, answer.columns, list(answer.rows), answer.suppressed, answer.whole])
    return f'"{hashlib.sha256(said).hexdigest()[:32]}"'


def _studies(request: Request, question: Question) -> str | None:
    """Where the studies themselves are found, for who may see some; the search shows no more than these."""
    if not known_caller(request).may(Right.VIEW):
        return None
    last = question.until - timedelta(microseconds=1)
    keys = {"StudyDate": f"{_day(question.since):%Y%m%d}-{_day(last):%Y%m%d}"}
    if modalities := question.where.get(By.MODALITY):
        keys["ModalitiesInStudy"] = ",".join(modalities)
    return f"{DICOMWEB}/studies?{urlencode(keys)}"


def _day(moment: datetime) -> date:
    return (moment if moment.tzinfo is None else moment.astimezone(clock.VIETNAM)).date()


def _note(request: Request, archive: Archive, question: Question, form: str) -> None:
    """Put on record what is asked; of the same question again and again, once within some minutes."""
    asked = ", ".join((*question.measures, "by", *question.by))
    detail = {"what": "figures", "asked": asked, "format": form}
    if form == "json":
        archive.looks.note(AuditEvent(Action.SEARCH, who(request), detail=detail), about=asked)
    else:
        archive.audit.record(AuditEvent(Action.EXPORT, who(request), detail=detail))
