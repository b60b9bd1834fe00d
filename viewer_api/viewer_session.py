"""What the viewer does about the session of its reader: keeps it while somebody works, and leads back in when it ended.

A reader who scrolls and measures asks the server for nothing, since the images are in the browser. To the server this
looks like nobody at all; so the script says once a minute that somebody is there. Where the session has ended all the
same, the viewer would show errors and go on showing images: instead it leaves for the sign-in, which leads back here.
"""

from __future__ import annotations

from typing import Final

import orjson

from viewer_api.sign_in.returning import SIGN_IN

ALIVE: Final = "/profile/alive"
"""Answers 204 as long as the session holds."""
TOLD_EVERY: Final = 60.0
"""Seconds; well below the shortest lock that makes sense."""


def session_script(below: str = "") -> str:
    """The script. Who stands `below` the path of links has no account: for them it leads to the page of the link."""
    values = {"signIn": SIGN_IN, "alive": "" if below else ALIVE, "below": below, "every": TOLD_EVERY * 1000}
    return _SCRIPT % {name: orjson.dumps(value).decode() for name, value in values.items()}


# OHIF has a hook for some requests only; all of them go through one of these two, and our policy lets none go elsewhere
# than to us. `replace`: "back" must not show the images.
_SCRIPT: Final = """\
(function () {
  var leaving = false;
  function leave() {
    if (leaving) { return; }
    leaving = true;
    var here = location.pathname + location.search;
    location.replace(%(below)s || %(signIn)s + '?to=' + encodeURIComponent(here));
  }
  var open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function () {
    this.addEventListener('readystatechange', function (event) {
      if (this.readyState > 1 && this.status === 401) {
        // The viewer must not act on it: it would go to another page of its own.
        event.stopImmediatePropagation();
        leave();
      }
    });
    return open.apply(this, arguments);
  };
  var ask = window.fetch;
  window.fetch = function () {
    return ask.apply(this, arguments).then(function (answer) {
      if (answer.status !== 401) { return answer; }
      leave();
      return new Promise(function () {});
    });
  };
  if (!%(alive)s) { return; }
  var told = Date.now();
  function tell() {
    if (Date.now() - told < %(every)s) { return; }
    told = Date.now();
    window.fetch(%(alive)s, { cache: 'no-store' }).catch(function () {});
  }
  ['pointerdown', 'pointermove', 'wheel', 'keydown'].forEach(function (kind) {
    window.addEventListener(kind, tell, { capture: true, passive: true });
  });
})();
"""
