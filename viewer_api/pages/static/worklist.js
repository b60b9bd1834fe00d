// Keeps the worklist up to date. The page works without this script too.
'use strict';

(function () {
  const EVERY = 20000;
  const form = document.getElementById('search');

  async function refresh() {
    const shown = document.getElementById('results');
    if (document.hidden || (shown.contains(document.activeElement) && document.activeElement !== shown)) {
      return;
    }
    // By POST, with what the list was asked for: what is typed meanwhile waits for its own search.
    const asked = new URLSearchParams(shown.dataset.asked);
    const response = await fetch('/worklist', { method: 'POST', body: asked });
    const found = new DOMParser().parseFromString(await response.text(), 'text/html').getElementById('results');
    if (response.ok && found) {
      found.dataset.asked = shown.dataset.asked;
      shown.replaceWith(document.adoptNode(found));
    }
  }

  async function loop() {
    try {
      await refresh();
    } catch (error) {
      // The server is away; what is shown stays.
    }
    setTimeout(loop, EVERY);
  }

  document.getElementById('results').dataset.asked = new URLSearchParams(new FormData(form)).toString();
  form.addEventListener('change', event => {
    if (event.target.tagName === 'SELECT' || event.target.type === 'date') {
      form.requestSubmit();
    }
  });
  setTimeout(loop, EVERY);
})();
