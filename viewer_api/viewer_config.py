"""The configuration of OHIF, and its build made to live under a path of its own.

The build expects to be at ``/``. The path is in ``index.html``, in the public path of webpack in some bundles,
in style sheets, and in ``app-config.js``. They are rewritten when served: what is stored stays what was verified.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from viewer_api import viewer_protocols
from viewer_api.viewer_session import session_script

if TYPE_CHECKING:
    # Not at run time: the pages import the charts, and these the place of the viewer.
    from viewer_api.pages.language import Texts

MOUNT: Final = "/viewer"
CONFIG: Final = "app-config.js"

_ATTRIBUTE_PATH = re.compile(r'(?P<attribute>\b(?:src|href|content)=")/(?!/)')
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_SERVICE_WORKER = re.compile(r"<script[^>]*init-service-worker\.js[^>]*></script>")
_STYLE_URL = re.compile(rb"url\((?P<quote>[\"']?)/(?!/)")
_PUBLIC_PATH: Final = b'__webpack_require__.p = "/"'


def rewrite_index(html: str, language: str, below: str = "") -> str:
    """``index.html`` of the build, for our path and language, with the configuration of who stands `below` a path.

    The service worker is left out: it would load code from another host, and keep patients' images in the browser.
    """
    html = _SERVICE_WORKER.sub("", html)
    html = _ATTRIBUTE_PATH.sub(rf"\g<attribute>{MOUNT}/", html)
    html = html.replace(f'"{MOUNT}/{CONFIG}"', f'"{below}{MOUNT}/{CONFIG}"')
    html = html.replace('window.PUBLIC_URL="/"', f'window.PUBLIC_URL="{MOUNT}/"')
    return html.replace('<html lang="en">', f'<html lang="{language}">')


def rewrite_script(script: bytes) -> bytes:
    """A bundle of the build, for our path."""
    return script.replace(_PUBLIC_PATH, f'__webpack_require__.p = "{MOUNT}/"'.encode())


def rewrite_style(style: bytes) -> bytes:
    """A style sheet of the build, for our path."""
    return _STYLE_URL.sub(rb"url(\g<quote>" + MOUNT.encode() + b"/", style)


def content_security_policy(index: str) -> str:
    """What the viewer may do: run its own code and the inline scripts of its own page, talk to us and no one else.

    ``unsafe-eval`` is for its matrix library, which compiles functions; ``wasm-unsafe-eval`` for its decoders; blobs
    for its workers, thumbnails and documents.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in dict.fromkeys(_INLINE_SCRIPT.findall(index))
    )
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval' {hashes}".rstrip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "font-src 'self' data:",
            "connect-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "frame-src 'self' blob:",
            "object-src 'self' blob:",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


def app_config(text: Texts, below: str = "") -> str:
    """``app-config.js``: where the data are, how OHIF should behave here, and our name, which leads back.

    `below` is the path below which viewer and data stand for this caller.
    """
    values = {"language": text.language, "brand": text("brand"), "config": _config(below), "home": below or "/"}
    values["studies"] = f"{below}/dicom-web/studies"
    layouts = viewer_protocols.SCRIPT % {
        "protocols": orjson.dumps(viewer_protocols.protocols(text("viewer_mip"))).decode()
    }
    script = _SCRIPT % {name: orjson.dumps(value).decode() for name, value in values.items()}
    return script + layouts + session_script(below)


# OHIF takes its language from ?lng=, a cookie, or this entry of localStorage, in this order. What a user chose in its
# preferences stays until the language of the study list is changed.
_SCRIPT: Final = """\
(function () {
  var language = %(language)s;
  try {
    if (localStorage.getItem('pacsLanguage') !== language) {
      localStorage.setItem('pacsLanguage', language);
      localStorage.setItem('i18nextLng', language);
      document.cookie = 'i18next=; Max-Age=0; path=/';
      document.cookie = 'i18next=; Max-Age=0; path=/viewer';
    }
  } catch (error) {
    // Storage is switched off: OHIF falls back to English.
  }
})();
// For other studies of the patient it asks by PatientID alone, which is somebody else at the next hospital.
(function () {
  var open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (method, address) {
    var shown = new URLSearchParams(location.search).getAll('StudyInstanceUIDs').join(',');
    var asked = new URL(address, location.href);
    if (shown && asked.pathname === %(studies)s && asked.searchParams.has('00100020')) {
      asked.searchParams.delete('00100020');
      asked.searchParams.set('relatedto', shown);
      arguments[1] = asked.href;
    }
    return open.apply(this, arguments);
  };
})();
window.config = %(config)s;
// The archive finds names without accents; the list would hide those again that are not written as they were typed.
window.config.customizationService.push({
  'workList.columns': {
    $apply: function (columns) {
      return columns.map(function (column) {
        return column.id === 'patient' ? Object.assign({}, column, { filterFn: function () { return true; } }) : column;
      });
    },
  },
});
window.config.whiteLabeling = {
  createLogoComponentFn: function (React) {
    var style = { color: '#fff', fontWeight: 600, textDecoration: 'none', whiteSpace: 'nowrap' };
    return React.createElement('a', { href: %(home)s, style: style }, %(brand)s);
  },
};
"""


def _config(below: str) -> dict[str, Any]:
    return {
        "name": "provincial-pacs",
        "routerBasename": below + MOUNT,
        "extensions": [],
        "modes": [],
        # The guided tour covers the images when the viewer is opened for the first time, in English only.
        "customizationService": [{"ohif.tours": {"$set": []}}],
        # Who holds a link has a page of their own.
        "showStudyList": not below,
        "investigationalUseDialog": {"option": "never"},
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": True,
        "showLoadingIndicator": True,
        "showErrorDetails": "production",
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "allowMultiSelectExport": False,
        "maxNumberOfWebWorkers": 3,
        # Browsers open six connections to an HTTP/1.1 server; more requests only wait there instead of here.
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 10},
        "defaultDataSourceName": "pacs",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "pacs",
                "configuration": _data_source(below),
            }
        ],
    }


def _data_source(below: str) -> dict[str, Any]:
    root = f"{below}/dicom-web"
    return {
        "friendlyName": "PACS",
        "name": "pacs",
        "qidoRoot": root,
        "wadoRoot": root,
        "wadoUriRoot": root,
        "qidoSupportsIncludeField": True,
        "supportsReject": False,
        "supportsFuzzyMatching": True,
        "supportsWildcard": True,
        "dicomUploadEnabled": False,
        "enableStudyLazyLoad": True,
        "imageRendering": "wadors",
        # Small JPEGs made by the server: the default decodes a whole image in the browser for every thumbnail.
        "thumbnailRendering": "thumbnail",
        "thumbnailRequestStrategy": "fetch",
        # Bulk data come as they are, not in parts. Videos are asked for as /rendered by the player itself, which reads
        # what it plays by Range; without `video` here this release waits for ever for the whole of it. With `pdf` it
        # would ask /rendered for documents, too, instead of fetching them as bulk data.
        "singlepart": "bulkdata,video",
        "bulkDataURI": {"enabled": True},
        "omitQuotationForMultipartRequest": False,
    }
