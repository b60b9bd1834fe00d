// Looks whether a connection test is done, and asks before a device is removed. The page works without this script too.
'use strict';

(function () {
  const EVERY = 1000;

  document.addEventListener('submit', event => {
    const question = event.submitter && event.submitter.dataset.confirm;
    if (question && !window.confirm(question)) {
      event.preventDefault();
    }
  });

  async function refresh() {
    const response = await fetch(window.location.href, { headers: { 'X-Unattended': '1' } });
    if (!response.ok) {
      return;
    }
    const found = new DOMParser().parseFromString(await response.text(), 'text/html').getElementById('test');
    const shown = document.getElementById('test');
    if (found && shown) {
      shown.replaceWith(document.adoptNode(found));
    }
  }

  async function loop() {
    if (!document.querySelector('#test[data-waiting]')) {
      return;
    }
    try {
      await refresh();
    } catch (error) {
      // The server is away; what is shown stays.
    }
    window.setTimeout(loop, EVERY);
  }

  window.setTimeout(loop, EVERY);
})();
