"""The form of a peer: what is typed there as settings, and settings as what stands there."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from archive.errors import InvalidItem

_LONGEST: Final = 20_000
Line = Annotated[str, Field(max_length=500)]
Lines = Annotated[str, Field(max_length=_LONGEST)]
LIMITS: Final = ("maximum_associations", "maximum_pdu_length", "idle_timeout", "write_timeout")
_TEXTS: Final = (
    *("facility", "description", "host", "port", "sees", "worklist", "person_names", "view", "rejects"),
    *("tls_name", "identity", "commitment", "parallel", "default_character_set", "actual_character_set"),
)
"""Fields of one line, which say nothing where they are empty."""
_LISTS: Final = ("addresses", "character_sets", "certificates")
"""Fields with a value a line."""


class PeerForm(BaseModel):
    """What is typed; everything is text. What a form does not have is as by default."""

    ae_title: Line = ""
    revision: int | None = None
    action: Line = ""
    facility: Line = ""
    description: Line = ""
    rights: list[Line] = []
    addresses: Lines = ""
    host: Line = ""
    port: Line = ""
    sees: Line = ""
    destinations: Line = ""
    destination_titles: Lines = ""
    worklist: Line = ""
    character_sets: Lines = ""
    person_names: Line = ""
    view: Line = ""
    rejects: Line = ""
    tls: Line = ""
    tls_name: Line = ""
    certificates: Lines = ""
    identity: Line = ""
    default_character_set: Line = ""
    actual_character_set: Line = ""
    coerce_: Lines = Field(default="", alias="coerce")
    commitment: Line = ""
    parallel: Line = ""
    maximum_associations: Line = ""
    maximum_pdu_length: Line = ""
    idle_timeout: Line = ""
    write_timeout: Line = ""

    def settings(self) -> dict[str, Any]:
        """The settings that are typed, not yet checked. Raises `InvalidItem` for corrections that are no TOML."""
        found: dict[str, Any] = {"rights": self.rights, "tls": bool(self.tls)}
        found |= {name: value for name in _TEXTS if (value := getattr(self, name).strip())}
        found |= {name: values for name in _LISTS if (values := _lines(getattr(self, name)))}
        if self.destinations:
            chosen = self.destinations
            found["destinations"] = _lines(self.destination_titles) if chosen == "listed" else chosen
        if limits := {name: value for name in LIMITS if (value := getattr(self, name).strip())}:
            found["limits"] = limits
        if self.coerce_.strip():
            try:
                found["coerce"] = tomllib.loads(self.coerce_)
            except tomllib.TOMLDecodeError as error:
                raise InvalidItem.of({"coerce": f"is not like [peers.coerce] of pacs.toml: {error}"}) from None
        return found


def typed(ae_title: str, settings: Mapping[str, Any], revision: int | None = None) -> PeerForm:
    """What stands in the form of a peer with these settings, whether they can be used or not."""
    values: dict[str, Any] = {name: str(settings[name]) for name in _TEXTS if settings.get(name) is not None}
    values |= {name: "\n".join(_strings(settings[name])) for name in _LISTS if name in settings}
    values |= {name: str(value) for name, value in _mapping(settings.get("limits")).items() if name in LIMITS}
    values["addresses"] = "\n".join(map(plain, _strings(settings.get("addresses"))))
    values["rights"] = _strings(settings.get("rights", ("store", "commit")))
    values["tls"] = "on" if settings.get("tls") else ""
    destinations = settings.get("destinations", "own")
    values["destinations"] = destinations if isinstance(destinations, str) else "listed"
    values["destination_titles"] = "" if isinstance(destinations, str) else "\n".join(_strings(destinations))
    values["coerce"] = _toml(_mapping(settings.get("coerce")))
    # Past validation: what is kept may be of a release that knew other values.
    form = PeerForm(ae_title=ae_title[:500], revision=revision)
    return form.model_copy(update={("coerce_" if name == "coerce" else name): value for name, value in values.items()})


def plain(network: str) -> str:
    """A network of one address as that address."""
    address, _, bits = network.partition("/")
    return address if bits == ("128" if ":" in address else "32") else network


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _strings(values: Any) -> list[str]:
    return [str(each) for each in values] if isinstance(values, (list, tuple, set, frozenset)) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _toml(values: Mapping[str, Any]) -> str:
    """As a section of ``pacs.toml``; without what is not set, which TOML cannot say."""
    return "\n".join(f"{name} = {_inline(value)}" for name, value in values.items() if value not in (None, "", {}, []))


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_inline(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    # Strings of JSON are strings of TOML; letters beyond the first plane would be two escapes there.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
