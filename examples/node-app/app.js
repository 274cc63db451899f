// The routes. Each answers with one kind of response that a proxy has to pass
// on unharmed: a page, files, JSON, a slow answer, a stream, server-sent
// events, a large body, an echoed body, any status, a cookie.

import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { Notes, readNote } from './notes.js';
import { page } from './page.js';
import { Problem } from './problem.js';

const MIB = 1024 * 1024;
const LINE_INTERVAL_MS = 10; // keeps streamed lines in separate chunks

export function createApp() {
  const app = express();
  const notes = new Notes();

  // X-Powered-By stays on, as Express ships it, and /cookie sets a cookie
  // without flags: the proxy in front must mend both, and tests rely on it.

  app.get('/', (req, res) => res.send(page(notes.newest(20))));
  app.use('/public', express.static(fileURLToPath(new URL('./public', import.meta.url))));
  app.get('/healthz', (req, res) => res.type('text').send('ok'));

  app.use('/api/notes', noteRoutes(notes));
  app.get('/api/slow', slow);

  app.get('/stream', stream);
  app.get('/events', events);
  app.get('/big', big);
  app.post('/echo', express.raw({ type: () => true, limit: MIB, inflate: false }), echo);
  app.get('/status/:code', status);
  app.get('/cookie', (req, res) => {
    res.append('Set-Cookie', `session=${randomUUID()}`);
    res.json({ set: 'session' });
  });

  app.use((req, res, next) => next(new Problem(404, `no resource at ${req.path}`)));
  app.use(sendProblem);
  return app;
}

function noteRoutes(notes) {
  const router = express.Router();
  router.use(express.json({ limit: '100kb' }));

  router.get('/', (req, res) => res.json({ notes: notes.all() }));
  router.post('/', (req, res) => {
    const note = notes.add(readNote(req.body));
    res.status(201).location(`/api/notes/${note.id}`).json(note);
  });
  router.get('/:id', (req, res) => res.json(notes.get(req.params.id)));
  router.put('/:id', (req, res) => res.json(notes.replace(req.params.id, readNote(req.body))));
  router.delete('/:id', (req, res) => {
    notes.remove(req.params.id);
    res.status(204).end();
  });
  return router;
}

async function slow(req, res) {
  const ms = number('ms', req.query.ms, { fallback: 100, max: 60_000 });
  if (await pause(ms, res)) res.json({ waited: ms });
}

async function stream(req, res) {
  const n = number('n', req.query.n, { fallback: 5, max: 10_000 });
  res.type('text');
  res.flushHeaders();
  for (let i = 1; i <= n; i++) {
    res.write(`line ${i} of ${n}\n`);
    if (!(await pause(LINE_INTERVAL_MS, res))) return;
  }
  res.end();
}

async function events(req, res) {
  const n = number('n', req.query.n, { fallback: 5, max: 10_000 });
  res.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  res.flushHeaders();
  for (let i = 1; i <= n; i++) {
    res.write(`id: ${i}\nevent: tick\ndata: ${JSON.stringify({ i, of: n })}\n\n`);
    if (!(await pause(LINE_INTERVAL_MS, res))) return;
  }
  res.end();
}

async function big(req, res) {
  const size = number('size', req.query.size, { fallback: MIB, max: 8 * MIB });
  res.set({ 'Content-Type': 'application/octet-stream', 'Content-Length': String(size) });
  if (req.method === 'HEAD') return res.end();
  try {
    await pipeline(Readable.from(blocks(size)), res);
  } catch (err) {
    if (err.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw err; // else the client left
  }
}

// blocks yields size bytes; the byte at offset i is i modulo 251.
function* blocks(size) {
  const block = Buffer.from(Uint8Array.from({ length: 251 * 256 }, (_, i) => i % 251));
  for (let left = size; left > 0; left -= block.length) {
    yield left < block.length ? block.subarray(0, left) : block;
  }
}

function echo(req, res) {
  // Not the type that the client named: a page sent here must not run here.
  res.type('application/octet-stream').send(req.body ?? Buffer.alloc(0));
}

function status(req, res) {
  const code = number('code', req.params.code, { min: 200, max: 599 });
  res.status(code).type('text').send(`${code} ${STATUS_CODES[code] ?? 'Unknown'}\n`);
}

// number reads a parameter written in decimal digits.
function number(name, text, { fallback, min = 0, max }) {
  if (text === undefined && fallback !== undefined) return fallback;
  const value = typeof text === 'string' && /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (!(value >= min && value <= max)) {
    throw new Problem(400, `${name} must be a number from ${min} to ${max}`);
  }
  return value;
}

// pause waits and tells whether the client is still there.
async function pause(ms, res) {
  const gone = new AbortController();
  const leave = () => gone.abort();
  res.once('close', leave);
  try {
    await sleep(ms, undefined, { signal: gone.signal });
  } catch {
    // aborted: res.destroyed says so
  } finally {
    res.off('close', leave);
  }
  return !res.destroyed;
}

// sendProblem answers an error as RFC 9457 problem JSON. Express knows an
// error handler by its four parameters.
function sendProblem(err, req, res, next) {
  if (res.headersSent) return next(err);
  const status = err.status >= 400 && err.status < 500 ? err.status : 500;
  if (status === 500) console.error(err);
  res.status(status).type('application/problem+json').json({
    type: 'about:blank',
    title: STATUS_CODES[status],
    status,
    detail: status === 500 ? undefined : err.message,
    errors: err.errors,
  });
}
