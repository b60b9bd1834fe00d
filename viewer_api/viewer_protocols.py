"""Layouts that OHIF shows beside its own, under its button for layouts."""

from __future__ import annotations

from typing import Any, Final

_VOI: Final = {"type": "voi", "id": "mip", "source": True, "target": True, "options": {"syncColormap": True}}
_PLANES: Final = ("axial", "sagittal", "coronal")

# OHIF has no place for layouts in its configuration: they are added when its services are there.
SCRIPT: Final = """\
(function () {
  var services;
  Object.defineProperty(window, 'services', {
    configurable: true,
    get: function () { return services; },
    set: function (value) {
      services = value;
      %(protocols)s.forEach(function (protocol) {
        services.hangingProtocolService.addProtocol(protocol.id, protocol);
      });
    },
  });
})();
"""


def protocols(name: str) -> list[dict[str, Any]]:
    """Hanging protocols of OHIF: maximum intensity projections of a whole volume, as for vessels and nodules.

    `name` is what the reader picks it by.
    """
    reconstructable = {"weight": 1, "attribute": "isReconstructable", "constraint": {"equals": {"value": True}}}
    third = 1 / len(_PLANES)
    places = [{"x": number * third, "y": 0, "width": third, "height": 1} for number in range(len(_PLANES))]
    grid = {"rows": 1, "columns": len(_PLANES), "layoutOptions": places}
    return [
        {
            "id": "mip",
            "name": name,
            "locked": True,
            "icon": "layout-advanced-mpr",
            "isPreset": True,
            "createdDate": "2026-11-23",
            "modifiedDate": "2026-11-23",
            "availableTo": {},
            "editableBy": {},
            "numberOfPriorsReferenced": 0,
            "protocolMatchingRules": [],
            "imageLoadStrategy": "nth",
            "callbacks": {},
            "displaySetSelectors": {
                "activeDisplaySet": {"seriesMatchingRules": [{**reconstructable, "required": True}]}
            },
            "stages": [
                {
                    "name": "MIP",
                    "viewportStructure": {"layoutType": "grid", "properties": grid},
                    "viewports": [_viewport(plane) for plane in _PLANES],
                }
            ],
        }
    ]


def _viewport(plane: str) -> dict[str, Any]:
    return {
        "viewportOptions": {
            "viewportId": f"mip-{plane}",
            "toolGroupId": "mpr",
            "viewportType": "volume",
            "orientation": plane,
            "initialImageOptions": {"preset": "middle"},
            "syncGroups": [_VOI],
        },
        "displaySets": [{"id": "activeDisplaySet", "options": {"blendMode": "MIP", "slabThickness": "fullVolume"}}],
    }
