// An OpenID provider for tests, on loopback. It prints "ready" when it listens.
// Whoever logs in is whom the query of the interaction names; there is no
// password, because the tests are about the other side.
//
// Usage: node provider.mjs PORT REDIRECT_URI BACKCHANNEL_URI POST_LOGOUT_URI
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, redirect, backchannel, afterLogout] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const makeKey = (kid) => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid, use: 'sig', alg: 'RS256',
});

const users = new Map([['alice', ['staff', 'admin']], ['bob', ['staff']]]);
const store = new Map(); // outlives a change of the keys

class Memory {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) {
    store.set(this.key(id), payload);
    if (payload.uid) store.set(`uid:${payload.uid}`, id);
  }
  async find(id) { return store.get(this.key(id)); }
  async findByUid(uid) { return this.find(store.get(`uid:${uid}`)); }
  async findByUserCode() { return undefined; }
  async consume(id) { store.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId(grant) {
    for (const [key, value] of store) if (value?.grantId === grant) store.delete(key);
  }
}

const tweak = { token: '', last: '' };

function make(keys) {
  const provider = new Provider(issuer, {
    adapter: Memory,
    jwks: { keys },
    clients: [{
      client_id: 'app', client_secret: 'a-secret-that-must-never-be-seen',
      redirect_uris: [redirect], post_logout_redirect_uris: [afterLogout],
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      backchannel_logout_uri: backchannel, backchannel_logout_session_required: true,
    }],
    claims: { openid: ['sub', 'amr'], profile: ['groups'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['a key of the provider'] },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      revocation: { enabled: true },
    },
    fetch: (url, options) => { // the site's certificate is its own
      process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
      return fetch(url, { ...options, dispatcher: undefined });
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, groups: users.get(id) ?? [] }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: async () => true,
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: { AccessToken: 6, IdToken: 3600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600, AuthorizationCode: 60 },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.path !== '/token' || !ctx.body?.id_token) return;
    tweak.last = ctx.body.id_token;
    if (tweak.token) ctx.body.id_token = tweak.token;
  });
  for (const event of ['server_error', 'backchannel.error']) {
    provider.on(event, (...args) => console.error(event, args.map((a) => a?.stack ?? '').join(' ')));
  }
  return provider;
}

let keys = [makeKey('k1')];
let provider = make(keys);
let away = false;

async function login(req, res, url) {
  const details = await provider.interactionDetails(req, res);
  if (details.prompt.name === 'login') {
    const user = url.searchParams.get('user');
    if (!user) {
      res.setHeader('Content-Type', 'text/html');
      res.end('<title>Log in</title><form><input id="user" name="user"><button id="go">Log in</button></form>');
      return;
    }
    await provider.interactionFinished(req, res, { login: { accountId: user, amr: ['pwd', 'otp'] } });
    return;
  }
  const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
  grant.addOIDCScope('openid profile offline_access');
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}

createServer(async (req, res) => {
  const url = new URL(req.url, issuer);
  try {
    if (url.pathname === '/test/away') {
      away = url.searchParams.get('on') === '1';
      res.end('ok\n');
    } else if (url.pathname === '/test/rotate') {
      keys = [makeKey(`k${Date.now()}`)];
      provider = make(keys);
      res.end('ok\n');
    } else if (url.pathname === '/test/groups') {
      users.set(url.searchParams.get('user'), url.searchParams.get('groups').split(','));
      res.end('ok\n');
    } else if (url.pathname === '/test/id_token') { // is sent in the place of the next ones
      tweak.token = url.searchParams.get('token');
      res.end('ok\n');
    } else if (url.pathname === '/test/last_id_token') {
      res.end(tweak.last);
    } else if (away) {
      req.socket.destroy();
    } else if (url.pathname.startsWith('/interaction/')) {
      await login(req, res, url);
    } else {
      provider.callback()(req, res);
    }
  } catch (err) {
    console.error(err);
    res.statusCode = 500;
    res.end();
  }
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
