"""``python -m tests.interop.table``: write docs/interoperability.md from the results of the last runs of the cases.

Exit code 1 when a case failed, or did not run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pynetdicom

from docs.generate import table
from tests.interop.matrix import MATRICES, NOT_OFFERED, ROOT, WEB_CLIENTS, Case, Result, cases, cell, results
from tests.interop.npm import versions as npm_versions
from tests.interop.orthanc import version as orthanc_version
from tests.interop.orthanc import web_plugin_version
from tests.interop.programs import run
from viewer_api.viewer_setup import PACKAGE

DOCUMENT: Final = ROOT / "docs" / "interoperability.md"
_BLOCK = re.compile(r"(<!-- interop: ([\w-]+) -->\n).*?(<!-- /interop -->)", re.DOTALL)


def versions() -> str:
    """The clients as they are installed here."""
    dcmtk = subprocess.run(["echoscu", "--version"], capture_output=True, text=True, check=True).stdout
    gdcm = subprocess.run(["gdcmscu", "--version"], capture_output=True, text=True, check=False).stdout
    found = {
        "DCMTK": _number(dcmtk),
        "pynetdicom": pynetdicom.__version__,
        "Orthanc": orthanc_version(),
        "GDCM": _number(gdcm),
        "dicomweb-client (Python)": version("dicomweb-client"),
        **npm_versions(),
        "Orthanc DICOMweb plug-in": web_plugin_version(),
        "OHIF": _number(PACKAGE),
        "curl": _number(run("curl", "--version").output),
    }
    return table(("Client", "Version"), found.items())


def _number(text: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", text)
    return found[0] if found else "?"


def matrix(name: str, every: Sequence[Case], ran: Mapping[str, Result]) -> str:
    """Services by clients; a number is that of the tests."""
    clients, services = MATRICES[name]
    rows = [(service, *(cell(client, service, every, ran) for client in clients)) for service in services]
    return table(("Service", *clients), rows)


def details(every: Sequence[Case], ran: Mapping[str, Result]) -> str:
    """Each case, by service."""
    rows = []
    for _, services in MATRICES.values():
        for each in sorted(every, key=lambda case: services.index(case.service) if case.service in services else -1):
            if each.service in services:
                result = ran[each.test].text if each.test in ran else "**not run**"
                name = each.test.split("::")[1]
                rows.append((each.service, f"{each.client}: {each.program}", each.proves, result, f"`{name}`"))
    return table(("Service", "Client", "What is proven", "Result", "Test"), rows)


def not_offered(*, web: bool) -> str:
    """The pairs without a case, of DICOMweb or of DIMSE."""
    rows = [(*pair, why) for pair, why in NOT_OFFERED.items() if (pair[0] in WEB_CLIENTS) == web]
    return table(("Client", "Service", "Why there is no case"), rows)


def written(text: str, every: Sequence[Case], ran: Mapping[str, Result]) -> str:
    """The document with its tables as they are now."""
    dates = sorted({result.when for result in ran.values()})
    tables = {
        "versions": versions(),
        "date": f"Last run: {dates[-1] if dates else 'never'}.\n",
        **{name: matrix(name, every, ran) for name in MATRICES},
        "details": details(every, ran),
        "not-offered": not_offered(web=False),
        "web-not-offered": not_offered(web=True),
    }
    return _BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]}{block[3]}", text)


def main(path: Path = DOCUMENT) -> int:
    every, ran = list(cases()), results()
    path.write_text(written(path.read_text(encoding="utf-8"), every, ran), encoding="utf-8")
    bad = [each.test for each in every if each.test not in ran or ran[each.test].failed]
    for test in bad:
        print(f"{test} {'failed' if test in ran else 'did not run'}", file=sys.stderr)
    print(f"{path.relative_to(ROOT)}: {len(every)} cases, {len(bad)} of them not passed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
