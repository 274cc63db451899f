// Starts the application: HOST and PORT (default 127.0.0.1:3000; PORT=0 takes
// a free port), one line on stdout when it listens, and an orderly stop on
// SIGTERM and SIGINT.

import { createServer } from 'node:http';
import { isIPv6 } from 'node:net';
import { WebSocketServer } from 'ws';
import { createApp } from './app.js';

const host = process.env.HOST || '127.0.0.1';
const port = process.env.PORT || '3000';

// What is still running this long after the signal is cut off.
const STOP_TIMEOUT_MS = 5_000;

const server = createServer(createApp());

// Caddy's reverse_proxy keeps an idle upstream connection for two minutes. If
// the application closed it first, a request sent at that moment would fail.
server.keepAliveTimeout = 150_000;

const sockets = new WebSocketServer({ server, path: '/ws', maxPayload: 1024 * 1024 });
sockets.on('connection', (socket) => {
  socket.on('error', () => {}); // ws closes the connection itself
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});

// ws passes the server's errors on, so one listener hears a failed listen.
sockets.on('error', fail);

try {
  server.listen({ host, port }, () => {
    const at = server.address();
    const name = isIPv6(at.address) ? `[${at.address}]` : at.address;
    console.log(`listening on http://${name}:${at.port}`);
  });
} catch (err) {
  fail(err);
}

process.once('SIGTERM', stop);
process.once('SIGINT', stop);

function stop() {
  server.close(() => process.exit(0)); // closes the connections that are idle now
  setInterval(() => server.closeIdleConnections(), 50).unref(); // and later
  for (const socket of sockets.clients) socket.close(1001, 'server stops');
  setTimeout(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
  }, STOP_TIMEOUT_MS).unref();
}

function fail(err) {
  console.error(`cannot listen on HOST=${host} PORT=${port}: ${err.message}`);
  process.exit(1);
}
