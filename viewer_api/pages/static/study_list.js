// Makes the study list quicker: searches without leaving the page, and moves between studies by keyboard.
// Everything works without this script too.
'use strict';

(function () {
  const form = document.getElementById('search');
  let running = null;

  async function search(submitter) {
    const main = document.getElementById('results');
    const data = new FormData(form);
    if (submitter && submitter.name) {
      data.set(submitter.name, submitter.value);
    }
    if (running) {
      running.abort();
    }
    running = new AbortController();
    main.setAttribute('aria-busy', 'true');
    try {
      // By POST: what is searched for never becomes part of an address.
      const response = await fetch('/', { method: 'POST', body: new URLSearchParams(data), signal: running.signal });
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      const found = page.getElementById('results');
      if (!found) {
        throw new Error('not a page');
      }
      main.replaceWith(document.adoptNode(found));
      for (const name of ['first', 'last']) {
        form.elements[name].value = page.getElementById('search').elements[name].value;
      }
      if (submitter && submitter.name === 'page') {
        window.scrollTo({ top: 0 });
        found.focus({ preventScroll: true });
      }
      watchThumbnails();
    } catch (error) {
      if (error.name !== 'AbortError') {
        form.submit();
      }
    }
  }

  function watchThumbnails() {
    // Reports and the like have no picture.
    for (const image of document.querySelectorAll('img.thumbnail')) {
      const hide = () => image.classList.add('missing');
      image.addEventListener('error', hide);
      if (image.complete && image.naturalWidth === 0 && image.getAttribute('loading') !== 'lazy') {
        hide();
      }
    }
  }

  form.addEventListener('submit', event => {
    event.preventDefault();
    search(event.submitter);
  });
  form.addEventListener('change', event => {
    if (event.target.name === 'modality') {
      search(null);
    }
  });

  document.addEventListener('dblclick', event => {
    const row = event.target.closest('tr[data-study]');
    if (row) {
      row.querySelector('td.open a').click();
    }
  });

  document.addEventListener('keydown', event => {
    const typing = event.target.closest('input, textarea, select');
    if (event.key === '/' && !typing) {
      event.preventDefault();
      form.elements.name.focus();
      return;
    }
    if ((event.key !== 'ArrowDown' && event.key !== 'ArrowUp') || (typing && typing.name !== 'name')) {
      return;
    }
    const links = Array.from(document.querySelectorAll('td.open a'));
    const at = links.indexOf(document.activeElement);
    const next = links[at + (event.key === 'ArrowDown' ? 1 : -1)] || (at < 0 ? links[0] : null);
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });

  watchThumbnails();
})();
