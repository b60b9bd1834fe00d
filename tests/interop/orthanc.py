"""Orthanc as a peer: a process with a configuration of its own, driven by its REST interface."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from tests.integration.dicom_node.running import wait_until
from tests.interop.programs import PATIENCE, listening
from tests.interop.site import Site, listens
from tests.ports import reserved_port

PROGRAM = "/usr/sbin/Orthanc"
WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def version() -> str:
    first = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    return first.split()[-1]


def web_plugin_version() -> str:
    """The version of the DICOMweb plug-in, by the name of the file that its link leads to."""
    return WEB_PLUGIN.resolve().name.partition(".so.")[2]


@dataclass
class Orthanc:
    """A running Orthanc that knows the node as the modality ``pacs``."""

    http: httpx.Client

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        """Post JSON, or text as it is."""
        content = body if isinstance(body, str) else json.dumps(body)
        return self.http.post(path, content=content.encode()).raise_for_status().json()

    def wait_for(self, path: str, is_done: Callable[[Any], bool]) -> Any:
        """What it gives at a path, once that is as it should be."""
        found: list[Any] = []

        def done() -> bool:
            found[:] = [self.get(path)]
            return is_done(found[0])

        wait_until(done, f"Orthanc has done {path}", PATIENCE)
        return found[0]

    def wait_for_job(self, job: str) -> None:
        """Until it has succeeded."""
        assert (
            self.wait_for(f"/jobs/{job}", lambda found: found["State"] in ("Success", "Failure"))["State"] == "Success"
        )

    def upload(self, image: Dataset) -> dict[str, Any]:
        """Give it an image by HTTP; what it says of it, such as its identifiers."""
        buffer = DicomBytesIO()
        image.save_as(buffer, enforce_file_format=True)
        found: dict[str, Any] = self.http.post("/instances", content=buffer.getvalue()).raise_for_status().json()
        return found

    def holds(self) -> dict[str, Dataset]:
        """Everything it has, by SOP Instance UID."""
        found = {}
        for each in self.get("/instances"):
            image = dcmread(BytesIO(self.http.get(f"/instances/{each}/file").raise_for_status().content))
            found[str(image.SOPInstanceUID)] = image
        return found

    def clear(self) -> None:
        for each in self.get("/patients"):
            self.http.delete(f"/patients/{each}").raise_for_status()


@contextmanager
def orthanc(site: Site, folder: Path, lua: str = "", **more: Any) -> Iterator[Orthanc]:
    """Orthanc as the peer ORTHANC."""
    folder.mkdir()
    with reserved_port() as web:
        config = {
            "Name": "peer",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "HttpPort": web,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "ORTHANC",
            "DicomPort": site.ports["ORTHANC"],
            "DicomCheckCalledAet": True,
            "DicomModalities": {"pacs": ["PACS", "127.0.0.1", site.port, "Generic"]},
            "DefaultEncoding": "Utf8",
            "StableAge": 1,
            "SaveJobs": False,
            "StorageAccessOnFind": "Never",
            "LuaScripts": [],
            **more,
        }
        if lua:
            (folder / "script.lua").write_text(lua)
            config["LuaScripts"] = [str(folder / "script.lua")]
        path = folder / "orthanc.json"
        path.write_text(json.dumps(config))
        with listening(site.ports["ORTHANC"], PROGRAM, str(path), "--verbose", f"--logfile={folder}/orthanc.log"):
            wait_until(lambda: listens(web), "Orthanc answers", PATIENCE)
            with httpx.Client(base_url=f"http://127.0.0.1:{web}", timeout=PATIENCE) as http:
                yield Orthanc(http)
