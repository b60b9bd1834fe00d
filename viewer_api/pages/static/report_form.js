// Makes the form of a report quicker: saves the draft by itself, spells out short forms, asks before signing.
// Everything works without this script too.
'use strict';

(function () {
  const form = document.getElementById('report');
  const state = form.querySelector('.state');
  const shortForms = JSON.parse(form.dataset.shortForms);
  const PAUSE = 3000;
  let timer = 0;
  let dirty = false;
  let running = false;
  let leaving = false;

  function tell(text, bad) {
    state.textContent = text;
    state.classList.toggle('bad', Boolean(bad));
  }

  async function save() {
    if (!dirty || running || leaving) {
      return;
    }
    running = true;
    dirty = false;
    const data = new URLSearchParams(new FormData(form));
    data.set('do', 'save');
    try {
      const response = await fetch(form.action, { method: 'POST', body: data, headers: { Accept: 'application/json' } });
      const answer = await response.json();
      if (response.ok) {
        form.elements.revision.value = answer.revision;
        const time = new Date().toLocaleTimeString('vi-VN', { hour: '2-digit', minute: '2-digit' });
        tell(`${form.dataset.saved} ${time}`);
      } else {
        tell(answer.message || form.dataset.unsaved, true);
      }
    } catch {
      dirty = true;
      tell(form.dataset.unsaved, true);
    }
    running = false;
    if (dirty) {
      later();
    }
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(save, PAUSE);
  }

  function spell(area) {
    // Behind a short form comes a space or the end of a line: ".kbt ".
    const found = /(^|[^\p{L}\p{N}_.])\.([a-zđ][a-zđ0-9]{1,11})(\s)$/u.exec(area.value.slice(0, area.selectionStart));
    const full = found && shortForms[found[2]];
    if (full) {
      const end = area.selectionStart - found[3].length;
      area.setRangeText(full, end - found[2].length - 1, end, 'end');
      area.setSelectionRange(area.selectionStart + found[3].length, area.selectionStart + found[3].length);
    }
  }

  form.addEventListener('input', event => {
    if (event.target.tagName === 'TEXTAREA') {
      spell(event.target);
    }
    dirty = true;
    later();
  });
  form.addEventListener('submit', event => {
    const what = event.submitter && event.submitter.value;
    if (what === 'sign' && !window.confirm(form.dataset.ask)) {
      event.preventDefault();
      return;
    }
    if (running) {
      // The revision of the save that is on its way must be known first.
      event.preventDefault();
      setTimeout(() => form.requestSubmit(event.submitter), 200);
      return;
    }
    leaving = true;
    clearTimeout(timer);
  });
  window.addEventListener('beforeunload', event => {
    if (dirty && !leaving) {
      event.preventDefault();
    }
  });
})();
