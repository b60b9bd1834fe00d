"""Templates of reports: which fields an examination is described by, what is normal, which short forms are spelt out.

They are TOML files: the shipped ones, and those of a folder in the settings, in which a template takes the place of the
shipped one with its name. A file in a folder with a facility's code is for this facility alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from archive.description import fold_name
from archive.errors import InvalidItem
from archive.reports.records import Written

SHIPPED: Final = Path(__file__).with_name("shipped")
_SHORT_FORM: Final = re.compile(r"(?<![\w.])\.([a-zđ][a-zđ0-9]{1,11})(?!\w)")
_ID: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_NUMBER: Final = re.compile(r"-?\d{1,9}([.,]\d{1,6})?")
Line = Annotated[str, Field(max_length=255)]
Text = Annotated[str, Field(max_length=4096)]


class TemplateField(BaseModel):
    """One thing to be filled in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=_ID)
    label: Line
    kind: Literal["text", "choice", "number"] = "text"
    normal: Text = ""
    """What stands there to begin with."""
    choices: tuple[Line, ...] = ()
    unit: str = Field(default="", max_length=50)
    code: str = Field(default="", max_length=50)
    """MA_CHI_SO: a number with one is a row of its own in XML4."""

    @model_validator(mode="after")
    def _fits(self) -> TemplateField:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError("a field of kind choice has choices, and no other has")
        if self.kind == "choice" and self.normal and self.normal not in self.choices:
            raise ValueError("normal is not one of the choices")
        return self


class Template(BaseModel):
    """A kind of examination."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=_ID)
    title: Line
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    """Values of BodyPartExamined."""
    words: tuple[str, ...] = ()
    """Words in the description of a study that speak for it; accents and case do not matter."""
    service_code: str = Field(default="", max_length=15)
    """MA_DICH_VU, where the order does not say it."""
    index_code: str = Field(default="", max_length=50)
    """MA_CHI_SO."""
    fields: tuple[TemplateField, ...] = ()
    conclusion: Text = ""
    recommendation: Text = ""

    @model_validator(mode="after")
    def _unique(self) -> Template:
        if len({field.id for field in self.fields}) != len(self.fields):
            raise ValueError("two fields have one id")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    template: tuple[Template, ...] = ()
    short_forms: dict[str, Text] = {}


@dataclass(frozen=True, slots=True)
class Templates:
    """Those of one facility, or of all."""

    by_id: Mapping[str, Template]
    short_forms: Mapping[str, str]

    def get(self, name: str) -> Template | None:
        """The template; None if there is none of this name (any more)."""
        return self.by_id.get(name)

    def suggested(self, modalities: Iterable[str], body_parts: Iterable[str], description: str) -> list[Template]:
        """Those for these modalities: what fits, the general ones, the rest."""
        wanted, parts, folded = set(modalities), set(body_parts), f" {fold_name(description)} "

        def fit(template: Template) -> int:
            words = sum(f" {fold_name(word)} " in folded for word in template.words)
            return 4 * words + 2 * len(parts & set(template.body_parts))

        fitting = [each for each in self.by_id.values() if not each.modalities or wanted & set(each.modalities)]
        # Where nothing speaks for any, the general one comes first: another's normal text would be about another thing.
        rank = {each.id: 0 if fit(each) else 1 if not each.modalities else 2 for each in fitting}
        return sorted(fitting, key=lambda each: (rank[each.id], -fit(each), each.title))

    def begun(self, template: Template) -> Written:
        """What a report says to begin with."""
        fields = {field.id: field.normal for field in template.fields if field.normal}
        return Written(
            conclusion=template.conclusion,
            recommendation=template.recommendation,
            template=template.id,
            fields=fields,
        )

    def spelt_out(self, written: Written) -> Written:
        """The same with all short forms (``.kbt``) spelt out."""
        return replace(
            written,
            conclusion=self._spell(written.conclusion),
            text=self._spell(written.text),
            recommendation=self._spell(written.recommendation),
            fields={name: self._spell(value) for name, value in written.fields.items()},
        )

    def description(self, written: Written) -> str:
        """What is seen, of the fields in their order and of the free text. Raises `InvalidItem`."""
        template = self.by_id.get(written.template)
        if template is None:
            if written.template or written.fields:
                raise InvalidItem.of({"template": "is none that is known here"})
            return written.text
        known = {field.id: field for field in template.fields}
        faults = {name: "is no field of this template" for name in written.fields if name not in known}
        faults |= {
            name: "is a number" for name, value in written.fields.items() if name in known and _bad(known[name], value)
        }
        if faults:
            raise InvalidItem.of({f"fields.{name}": text for name, text in faults.items()})
        lines = [_line(field, written.fields[field.id]) for field in template.fields if field.id in written.fields]
        return "\n".join((*lines, *([written.text] if written.text else [])))

    def _spell(self, text: str) -> str:
        return _SHORT_FORM.sub(lambda found: self.short_forms.get(found[1], found[0]), text)


class Library:
    """All templates. They are read once; a restart reads changes."""

    def __init__(self, folder: Path | None) -> None:
        """Raises `ValueError`, which names the file and says what is wrong in it."""
        self._common = _merged(Templates({}, {}), SHIPPED)
        self._of_facilities: dict[str, Templates] = {}
        if folder is not None:
            if not folder.is_dir():
                raise ValueError(f"reports.templates {folder} is no folder")
            self._common = _merged(self._common, folder)
            for each in sorted(folder.iterdir()):
                if each.is_dir():
                    self._of_facilities[each.name] = _merged(self._common, each)

    def of(self, facility: str) -> Templates:
        """Those that this facility writes by."""
        return self._of_facilities.get(facility, self._common)


def number_of(value: str) -> str:
    """A number as programs write it: ``12,5`` is ``12.5``."""
    return value.strip().replace(",", ".")


def _merged(before: Templates, folder: Path) -> Templates:
    by_id, short_forms = dict(before.by_id), dict(before.short_forms)
    for path in sorted(folder.glob("*.toml")):
        try:
            found = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: {error}") from None
        except ValidationError as error:
            raise ValueError(f"{path}: {_sentence(error)}") from None
        by_id.update({each.id: each for each in found.template})
        short_forms.update({name.lower().removeprefix("."): text for name, text in found.short_forms.items()})
    return Templates(by_id, short_forms)


def _sentence(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())


def _bad(field: TemplateField, value: str) -> bool:
    return field.kind == "number" and not _NUMBER.fullmatch(value.strip())


def _line(field: TemplateField, value: str) -> str:
    unit = f" {field.unit}" if field.unit and field.kind == "number" else ""
    return f"{field.label}: {value.strip()}{unit}"


def choices(templates: Sequence[Template]) -> list[dict[str, Any]]:
    """For programs and pages: all that a form needs."""
    return [each.model_dump(mode="json") for each in templates]
