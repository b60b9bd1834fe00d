// Speaks to the authenticator of the browser (Web Authentication). Parts with data-passkey say what for:
// "sign-in", "enrol" (the second factor that a sign-in asks for) or "add" (in one's own account).
(() => {
  const places = {
    'sign-in': { options: '/sign-in/passkey/options', done: '/sign-in/passkey' },
    enrol: { options: '/sign-in/passkey/new/options', done: '/sign-in/passkey/new' },
    add: { options: '/profile/passkeys/options', done: '/profile/passkeys' },
  };

  const bytes = text => {
    const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
    return Uint8Array.from(plain, letter => letter.charCodeAt(0));
  };
  const text = buffer => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
  };

  const ask = async (address, content) => {
    const response = await fetch(address, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(content),
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) {
      throw Object.assign(new Error('refused'), { said: answer.message });
    }
    return answer;
  };

  const known = list => (list || []).map(each => ({ ...each, id: bytes(each.id) }));

  const created = async options => {
    const publicKey = {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: known(options.excludeCredentials),
    };
    const made = await navigator.credentials.create({ publicKey });
    const { attestationObject, clientDataJSON } = made.response;
    const response = { attestationObject: text(attestationObject), clientDataJSON: text(clientDataJSON) };
    return { id: made.id, rawId: text(made.rawId), type: made.type, response };
  };

  const got = async options => {
    const publicKey = {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: known(options.allowCredentials),
    };
    const found = await navigator.credentials.get({ publicKey });
    const { authenticatorData, clientDataJSON, signature, userHandle } = found.response;
    const response = {
      authenticatorData: text(authenticatorData),
      clientDataJSON: text(clientDataJSON),
      signature: text(signature),
      userHandle: userHandle ? text(userHandle) : null,
    };
    return { id: found.id, rawId: text(found.rawId), type: found.type, response };
  };

  const run = async part => {
    const kind = part.dataset.passkey;
    const field = name => part.querySelector(`[name=${name}]`)?.value || '';
    const { options, ticket } = await ask(places[kind].options, { password: field('current') });
    const credential = kind === 'sign-in' ? await got(options) : await created(options);
    const name = field('name') || part.dataset.name;
    const answer = await ask(places[kind].done, { ticket, credential, name, to: part.dataset.to });
    location.assign(answer.to);
  };

  for (const part of document.querySelectorAll('[data-passkey]')) {
    if (!window.PublicKeyCredential || !window.isSecureContext) {
      continue;
    }
    part.hidden = false;
    const message = part.querySelector('.message');
    const button = part.querySelector('button');
    const start = async event => {
      event.preventDefault();
      message.hidden = true;
      button.disabled = true;
      try {
        await run(part);
      } catch (error) {
        message.textContent = error.said || part.dataset.failed;
        message.hidden = false;
      } finally {
        button.disabled = false;
      }
    };
    if (part.tagName === 'FORM') {
      part.addEventListener('submit', start);
    } else {
      button.addEventListener('click', start);
    }
  }
})();
