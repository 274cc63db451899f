// Starts server.js as a process of its own, as a user does, and calls it over
// the network.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { get } from 'node:http';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';

const SERVER = fileURLToPath(new URL('../server.js', import.meta.url));
const MIB = 1024 * 1024;

let app;
before(async () => {
  app = await start();
});
after(() => app.child.kill('SIGKILL'));

// start runs the server on a free port and waits for its line.
async function start(env = { PORT: '0' }) {
  const child = spawn(process.execPath, [SERVER], {
    env: { ...process.env, HOST: '127.0.0.1', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const [, url] = /^listening on (http:\/\/127\.0\.0\.1:\d+)$/.exec(line) ?? assert.fail(line);
  return { child, url };
}

const call = (path, options) => fetch(app.url + path, { redirect: 'manual', ...options });

function send(method, path, value) {
  const body = typeof value === 'string' ? value : JSON.stringify(value);
  return call(path, { method, body, headers: { 'Content-Type': 'application/json' } });
}

async function assertProblem(res, status) {
  assert.equal(res.status, status);
  assert.match(res.headers.get('content-type'), /^application\/problem\+json/);
  const problem = await res.json();
  assert.equal(problem.status, status);
  return problem;
}

test('page escapes notes and loads only its own files', async () => {
  const { id } = await (await send('POST', '/api/notes', { title: '<b>&"', text: "<script>'" })).json();
  const res = await call('/');
  assert.equal(res.status, 200);
  assert.match(res.headers.get('content-type'), /^text\/html/);
  assert.equal(res.headers.get('x-powered-by'), 'Express');
  const html = await res.text();
  assert.ok(html.includes('<h2>&lt;b&gt;&amp;&quot;</h2><p>&lt;script&gt;&#39;</p>'));
  const files = [...html.matchAll(/(?:href|src)="([^"]+)"/g)].map((match) => match[1]);
  const types = { '/public/icon.svg': 'image/svg+xml', '/public/style.css': 'text/css', '/public/script.js': 'text/javascript' };
  assert.deepEqual(files, Object.keys(types));
  for (const [file, type] of Object.entries(types)) {
    const part = await call(file);
    assert.equal(part.status, 200);
    assert.ok(part.headers.get('content-type').startsWith(type));
    assert.notEqual(await part.text(), '');
  }
  await call(`/api/notes/${id}`, { method: 'DELETE' });
});

test('healthz answers ok', async () => {
  const res = await call('/healthz');
  assert.equal(res.status, 200);
  assert.equal(await res.text(), 'ok');
});

test('a note is created, listed, read, replaced and deleted', async () => {
  const created = await send('POST', '/api/notes', { title: ' one ', text: 'first' });
  assert.equal(created.status, 201);
  const note = await created.json();
  assert.equal(created.headers.get('location'), `/api/notes/${note.id}`);
  assert.equal(note.title, 'one');

  const path = `/api/notes/${note.id}`;
  assert.deepEqual(await (await call(path)).json(), note);
  assert.deepEqual(await (await call('/api/notes')).json(), { notes: [note] });

  const replaced = await send('PUT', path, { title: 'two' });
  assert.equal(replaced.status, 200);
  const second = await replaced.json();
  assert.deepEqual([second.title, second.text, second.created], ['two', '', note.created]);

  assert.equal((await call(path, { method: 'DELETE' })).status, 204);
  await assertProblem(await call(path), 404);
  await assertProblem(await call(path, { method: 'DELETE' }), 404);
  await assertProblem(await send('PUT', path, { title: 'three' }), 404);
});

test('an invalid note is refused with the fields at fault', async () => {
  const cases = [
    [{}, ['title']],
    [{ title: ' ', text: 1 }, ['title', 'text']],
    [{ title: 'x'.repeat(201), text: 'x'.repeat(10_001) }, ['title', 'text']],
    [{ title: 'x', colour: 'red' }, ['colour']],
  ];
  for (const [body, fields] of cases) {
    const { errors } = await assertProblem(await send('POST', '/api/notes', body), 400);
    assert.deepEqual(errors.map((error) => error.field), fields);
  }
  for (const body of [[], null, '{"title"']) {
    await assertProblem(await send('POST', '/api/notes', body), 400);
  }
  await assertProblem(await call('/api/notes', { method: 'POST', body: 'title=x' }), 400);
  await assertProblem(await send('POST', '/api/notes', { title: 'x', text: 'x'.repeat(101 * 1024) }), 413);
});

test('slow waits as long as asked', async () => {
  const begin = performance.now();
  assert.deepEqual(await (await call('/api/slow?ms=120')).json(), { waited: 120 });
  assert.ok(performance.now() - begin > 100);
  for (const ms of ['-1', '1e3', '', '60001']) {
    await assertProblem(await call(`/api/slow?ms=${ms}`), 400);
  }
});

test('stream sends its lines one by one, chunked', async () => {
  const [res] = await once(get(`${app.url}/stream?n=4`), 'response');
  assert.equal(res.headers['transfer-encoding'], 'chunked');
  const chunks = [];
  for await (const chunk of res.setEncoding('utf8')) chunks.push(chunk);
  assert.ok(chunks.length > 1, `${chunks.length} chunk`);
  assert.equal(chunks.join(''), 'line 1 of 4\nline 2 of 4\nline 3 of 4\nline 4 of 4\n');
  await assertProblem(await call('/stream?n=x'), 400);
});

test('events sends server-sent events, then ends', async () => {
  const res = await call('/events?n=2');
  assert.match(res.headers.get('content-type'), /^text\/event-stream(;|$)/);
  assert.equal(res.headers.get('cache-control'), 'no-cache');
  assert.equal(
    await res.text(),
    'id: 1\nevent: tick\ndata: {"i":1,"of":2}\n\nid: 2\nevent: tick\ndata: {"i":2,"of":2}\n\n',
  );
  await assertProblem(await call('/events?n=10001'), 400);
});

test('big sends exactly the bytes that it announces', async () => {
  for (const size of [0, 1, 64_257, 8 * MIB]) {
    const res = await call(`/big?size=${size}`);
    assert.equal(res.headers.get('content-length'), String(size));
    const body = Buffer.from(await res.arrayBuffer());
    assert.equal(body.length, size);
    if (size > 0) assert.equal(body[size - 1], (size - 1) % 251);
  }
  const head = await call('/big?size=1000', { method: 'HEAD' });
  assert.equal(head.headers.get('content-length'), '1000');
  await assertProblem(await call(`/big?size=${8 * MIB + 1}`), 400);
});

test('echo returns the body as sent, up to 1 MiB', async () => {
  const bytes = Buffer.from(Uint8Array.from({ length: MIB }, (_, i) => i % 256));
  const res = await call('/echo', { method: 'POST', body: bytes });
  assert.equal(res.status, 200);
  assert.equal(res.headers.get('content-type'), 'application/octet-stream');
  assert.ok(bytes.equals(Buffer.from(await res.arrayBuffer())));

  const empty = await call('/echo', { method: 'POST' });
  assert.equal(empty.status, 200);
  assert.equal(await empty.text(), '');
  await assertProblem(await call('/echo', { method: 'POST', body: Buffer.alloc(MIB + 1) }), 413);
});

test('status answers with the code asked for', async () => {
  for (const code of [200, 204, 304, 307, 404, 418, 503, 599]) {
    const res = await call(`/status/${code}`);
    assert.equal(res.status, code);
    const text = await res.text();
    if (code !== 204 && code !== 304) assert.ok(text.startsWith(`${code} `));
  }
  for (const code of ['100', '199', '600', 'x']) {
    await assertProblem(await call(`/status/${code}`), 400);
  }
});

test('cookie has no flags', async () => {
  const res = await call('/cookie');
  assert.match(res.headers.get('set-cookie'), /^session=[0-9a-f-]{36}$/);
});

test('an unknown path is a problem', async () => {
  await assertProblem(await call('/nowhere'), 404);
});

test('the WebSocket echoes text and bytes', async () => {
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/ws`);
  await once(socket, 'open');
  for (const [message, wantBinary] of [['hello', false], [Buffer.from([0, 255, 1]), true]]) {
    socket.send(message);
    const [data, isBinary] = await once(socket, 'message');
    assert.equal(isBinary, wantBinary);
    assert.ok(data.equals(Buffer.from(message)));
  }
  socket.close(1000);
  const [code] = await once(socket, 'close');
  assert.equal(code, 1000);
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} lets a running request end, closes WebSockets and exits 0`, async () => {
    const { child, url } = await start();
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`);
    await once(socket, 'open');
    const [running] = await once(get(`${url}/stream?n=30`), 'response');
    child.kill(signal);
    const [[closeCode], [exitCode], lines] = await Promise.all([
      once(socket, 'close'),
      once(child, 'exit'),
      running.setEncoding('utf8').toArray(),
    ]);
    assert.equal(closeCode, 1001);
    assert.equal(exitCode, 0);
    assert.ok(lines.join('').endsWith('line 30 of 30\n'));
  });
}

test('a port in use or not a port is one line and exit 1', async () => {
  for (const port of [new URL(app.url).port, 'x', '70000']) {
    const child = spawn(process.execPath, [SERVER], {
      env: { ...process.env, HOST: '127.0.0.1', PORT: port },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [[code], errors] = await Promise.all([
      once(child, 'exit'),
      child.stderr.setEncoding('utf8').toArray(),
    ]);
    assert.equal(code, 1);
    assert.match(errors.join(''), new RegExp(`^cannot listen on HOST=127.0.0.1 PORT=${port}: .+\n$`));
  }
});
