// A provider of OpenID Connect on a free port of loopback. Says its issuer in one line; each line of JSON that comes in
// configures it anew ({clients, keys, users}), and is answered by "ready". What it has issued stays.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const server = createServer();
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

function made({ clients, keys, users }) {
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys },
    cookies: { keys: ['only for tests'] },
    acrValues: ['urn:two'],
    scopes: ['openid', 'profile', 'email'],
    claims: {
      openid: ['sub', 'sid', 'amr', 'acr', 'auth_time'],
      profile: ['name', 'preferred_username', 'groups'],
      email: ['email', 'email_verified'],
    },
    features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...users[id] }) }),
    // The hospital's own programs are not asked about.
    loadExistingGrant: async ctx => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid profile email');
      await grant.save();
      return grant;
    },
  });
  const callback = provider.callback();
  return async (request, response) => {
    if (!request.url.startsWith('/interaction/')) {
      callback(request, response);
    } else if (request.method === 'GET') {
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.end(
        '<!doctype html><title>Provider</title><form method="post"><input name="login"><input name="amr">' +
          '<button>Sign in</button></form>',
      );
    } else {
      let body = '';
      for await (const part of request) {
        body += part;
      }
      const form = new URLSearchParams(body);
      const login = { accountId: form.get('login') };
      if (form.get('amr')) {
        login.amr = form.get('amr').split(' ');
        login.acr = 'urn:two';
      }
      await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
    }
  };
}

let handle = (request, response) => response.writeHead(503).end();
server.on('request', (request, response) => handle(request, response));
createInterface({ input: process.stdin })
  .on('line', line => {
    handle = made(JSON.parse(line));
    console.log('ready');
  })
  .on('close', () => process.exit(0));
console.log(issuer);
