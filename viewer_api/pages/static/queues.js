// Keeps the queues up to date, and asks before something is given up. The page works without this script too.
'use strict';

(function () {
  const EVERY = 3000;

  document.addEventListener('submit', event => {
    const question = event.submitter && event.submitter.dataset.confirm;
    if (question && !window.confirm(question)) {
      event.preventDefault();
    }
  });

  async function refresh() {
    const shown = document.getElementById('results');
    // Not under the hands of somebody who is about to press a button.
    if (document.hidden || shown.contains(document.activeElement) && document.activeElement !== shown || shown.matches(':active')) {
      return;
    }
    const response = await fetch('/queues', { headers: { 'X-Unattended': '1' } });
    if (!response.ok) {
      return;
    }
    const found = new DOMParser().parseFromString(await response.text(), 'text/html').getElementById('results');
    if (!found) {
      return;
    }
    const open = new Set([...shown.querySelectorAll('details[open]')].map(each => each.dataset.destination));
    for (const each of found.querySelectorAll('details')) {
      each.open = open.has(each.dataset.destination);
    }
    shown.replaceWith(document.adoptNode(found));
  }

  async function loop() {
    try {
      await refresh();
    } catch (error) {
      // The server is away; what is shown stays.
    }
    window.setTimeout(loop, EVERY);
  }

  window.setTimeout(loop, EVERY);
})();
