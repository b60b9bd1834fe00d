"""``python -m archive deidentify``: copies of studies for research, without what tells who the patients are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from archive.audit.events import Action, AuditEvent
from archive.audit.operation import operator
from archive.core import Archive
from archive.deidentify.export import Exporter
from archive.deidentify.project import Project, new_key
from archive.deidentify.table import Option
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]

_OPTIONS = {option.name.lower(): option for option in Option}


def register(add: Add) -> None:
    """Add the command."""
    command = add(
        "deidentify",
        _deidentify,
        "Write de-identified copies of studies (PS3.15 Annex E) and a manifest. Patients and UIDs get the same "
        "new names in every export of a project. Exit code 1 if an object was refused; the manifest says why.",
    )
    command.add_argument("--project", required=True, metavar="NAME", help="2 to 12 capital letters and digits")
    command.add_argument("--study", action="append", required=True, metavar="UID", help="may be given several times")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    command.add_argument("--new", action="store_true", help="begin the project: make its key")
    command.add_argument(
        "--key", type=Path, metavar="FILE", help="key of the project, if not data_dir/keys/projects/NAME.key"
    )
    command.add_argument(
        "--options",
        default=",".join(_OPTIONS),
        metavar="LIST",
        help=f"options of the Basic Profile, with commas between: {', '.join(_OPTIONS)} (all by default); '' for none",
    )
    command.add_argument(
        "--pixels-checked-by",
        default="",
        metavar="WHO",
        help="who has looked at the images that do not say whether text is burned in, and found none",
    )


def _deidentify(settings: Settings, given: argparse.Namespace) -> int:
    names = [name.strip() for name in given.options.split(",") if name.strip()]
    unknown = sorted({*names} - _OPTIONS.keys())
    if unknown:
        print(f"there is no option {', '.join(unknown)}; there are {', '.join(_OPTIONS)}", file=sys.stderr)
        return 2
    path = given.key or settings.data_dir / "keys" / "projects" / f"{given.project}.key"
    if given.new:
        new_key(given.project, path)
    project = Project.open(given.project, path)
    options = frozenset(_OPTIONS[name] for name in names)
    with Archive.open(settings, application="pacs deidentify") as archive:
        exporter = Exporter(archive.store, project, options, given.out, checked_by=given.pixels_checked_by)
        exported = []
        for study in given.study:
            instances = archive.locate(study)
            archive.audit.record(
                AuditEvent(
                    Action.EXPORT,
                    operator(),
                    studies=(study,),
                    purpose=f"research project {project.name}",
                    detail={"what": "de-identified", "instances": len(instances)},
                )
            )
            exported.append(exporter.study(instances))
        manifest = exporter.manifest(exported)
    written = sum(len(study.instances) for study in exported)
    refused = sum(len(study.refused) for study in exported)
    print(f"written: {written}; refused: {refused}; see {manifest}")
    return 1 if refused else 0
