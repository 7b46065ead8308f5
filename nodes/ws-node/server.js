// A WebSocket server that fans out Redis Pub/Sub: a client subscribes to channels and gets what is published on them as
// it was published. channels.js keeps the subscriptions at Redis, journal.js is for fanlab; README.md has the settings.

import { isUtf8 } from 'node:buffer';
import { createServer } from 'node:http';

import { WebSocket, WebSocketServer } from 'ws';

import { Channels } from './channels.js';
import { Journal, now } from './journal.js';

const GOING_AWAY = 1001;
const TRY_AGAIN_LATER = 1013;
const MAX_FRAME_BYTES = 64 * 1024; // from a client
const MAX_CHANNELS = 100; // per client
const MAX_CHANNEL_BYTES = 256;
const MISSED_PONGS = 2; // heartbeats that a client may leave unanswered; 1 would be one answer that is just late

const log = (text) => console.error(`${new Date().toISOString()} ${text}`);

function fail(status, text) {
  console.error(text);
  process.exit(status);
}

function setting(name, otherwise) {
  const value = Number(process.env[name] ?? otherwise);
  if (!Number.isSafeInteger(value) || value < 0) fail(2, `${name}=${process.env[name]} is no whole number`);
  return value;
}

const config = {
  host: process.env.HOST ?? '127.0.0.1',
  port: setting('PORT', 8080),
  redisUrl: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379/0',
  nodeId: process.env.NODE_NAME ?? 'ws-node',
  bufferBytes: setting('CLIENT_BUFFER_BYTES', 1 << 20),
  closeTimeoutMs: setting('CLOSE_TIMEOUT_MS', 2000),
  heartbeatMs: setting('HEARTBEAT_MS', 20_000),
  pingMs: setting('REDIS_PING_MS', 250),
  timeoutMs: setting('REDIS_TIMEOUT_MS', 5000),
  retryMaxMs: setting('REDIS_RETRY_MAX_MS', 1000),
  cacheChannel: process.env.CACHE_CHANNEL ?? 'user:updated',
  cacheEntries: setting('CACHE_ENTRIES', 10_000),
};

let journal;
try {
  journal = new Journal(process.env.JOURNAL_FILE, log);
} catch (error) {
  fail(2, `JOURNAL_FILE cannot be opened: ${error.message}`);
}
let stopping = false;
const cache = new Map(); // payload by key, the least recently refreshed first
const names = new Map(); // by client: the channels that it wants
const numbers = new WeakMap(); // by client: what it calls itself in the handshake, if it does
const missed = new WeakMap(); // by client: heartbeats since it last said anything

journal.event(now(), 'start', { node: config.nodeId, pid: process.pid });
const channels = new Channels(config, journal, log, {
  message: publish,
  subscribed: (client, channel) => tell(client, { type: 'subscribed', channel }),
  refused: (client, channel, reason) => {
    names.get(client)?.delete(channel);
    tell(client, { type: 'error', channel, reason: `Redis refused: ${reason}` });
  },
});
if (config.cacheChannel) channels.pin(config.cacheChannel);

// Redis -> clients

function publish(channel, payload, received) {
  const options = { binary: !isUtf8(payload) };
  const dropped = { closing: [], slow: [] };
  let written = 0;
  for (const client of channel.members) {
    if (client.readyState !== WebSocket.OPEN) dropped.closing.push(client);
    else if (hasRoom(client, payload.length)) {
      client.send(payload, options);
      written++;
    } else dropped.slow.push(client);
  }
  const done = now();
  const message = { ch: channel.name, mark: journal.mark(payload) };
  journal.event(received, 'msg', { ...message, n: written, done });
  for (const [why, clients] of Object.entries(dropped)) {
    if (!clients.length) continue;
    const who = clients.map((client) => numbers.get(client)).filter((number) => number !== undefined);
    journal.event(received, 'drop', { ...message, n: clients.length, why, who: who.length ? who : undefined });
  }
  if (channel.name === config.cacheChannel) refresh(payload, message);
}

/** Whether so many bytes fit into a client's buffer. Where not, it reads too slowly and is closed. */
function hasRoom(client, bytes) {
  if (client.bufferedAmount + bytes <= config.bufferBytes) return true;
  client.close(TRY_AGAIN_LATER, 'too slow'); // and terminated by ws after closeTimeout
  return false;
}

function tell(client, answer) {
  const text = JSON.stringify(answer);
  if (client.readyState === WebSocket.OPEN && hasRoom(client, text.length)) client.send(text);
}

function refresh(payload, message) {
  const key = keyOf(payload);
  if (key === undefined) return;
  cache.delete(key);
  cache.set(key, Buffer.from(payload)); // a copy: the payload itself holds on to all that was read with it
  if (cache.size > config.cacheEntries) cache.delete(cache.keys().next().value);
  journal.event(now(), 'cache', { ...message, key });
}

/** The `id` of an object; undefined where the payload is none, or has none. */
function keyOf(payload) {
  try {
    const { id } = JSON.parse(payload.toString());
    return typeof id === 'string' || Number.isSafeInteger(id) ? String(id) : undefined;
  } catch {
    return undefined;
  }
}

// Clients -> this node

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: MAX_FRAME_BYTES,
  closeTimeout: config.closeTimeoutMs,
});

sockets.on('connection', (client, request) => {
  const number = request.headers['fanlab-client'];
  if (/^\d{1,10}$/.test(number)) numbers.set(client, Number(number));
  names.set(client, new Set());
  missed.set(client, 0);
  client.on('error', () => {}); // of the peer's making: ws closes the connection
  client.on('pong', () => missed.set(client, 0));
  client.on('message', (data, isBinary) => {
    missed.set(client, 0);
    try {
      obey(client, commandOf(data, isBinary));
    } catch (error) {
      tell(client, { type: 'error', reason: error.message });
    }
  });
  client.on('close', () => {
    for (const name of names.get(client)) channels.unsubscribe(client, name);
    names.delete(client);
  });
});

/** A client's frame as a command. Throws an Error, whose message is for the client, for everything else. */
function commandOf(data, isBinary) {
  if (isBinary) throw new Error('send text frames: binary ones hold no command');
  let command;
  try {
    command = JSON.parse(data.toString());
  } catch {
    throw new Error('this is no JSON');
  }
  const { type, channels: wanted } = command ?? {};
  if (type !== 'subscribe' && type !== 'unsubscribe') throw new Error('type must be subscribe or unsubscribe');
  if (!Array.isArray(wanted) || !wanted.length) throw new Error('channels must be a list of at least one name');
  for (const name of wanted) {
    if (typeof name !== 'string' || !name || !name.isWellFormed()) throw new Error('a channel must be a name');
    if (Buffer.byteLength(name) > MAX_CHANNEL_BYTES) throw new Error(`a name may have ${MAX_CHANNEL_BYTES} bytes`);
  }
  return { type, wanted: new Set(wanted) };
}

function obey(client, { type, wanted }) {
  const has = names.get(client);
  if (type === 'unsubscribe') {
    for (const name of wanted) {
      has.delete(name);
      channels.unsubscribe(client, name);
      tell(client, { type: 'unsubscribed', channel: name });
    }
    return;
  }
  if (new Set([...has, ...wanted]).size > MAX_CHANNELS) throw new Error(`a client may have ${MAX_CHANNELS} channels`);
  for (const name of wanted) {
    has.add(name);
    channels.subscribe(client, name);
  }
}

setInterval(() => {
  for (const client of sockets.clients) {
    const count = missed.get(client);
    if (count >= MISSED_PONGS) client.terminate();
    else if (client.readyState === WebSocket.OPEN) {
      missed.set(client, count + 1);
      client.ping();
    }
  }
}, config.heartbeatMs);

// HTTP

/** Why this node cannot serve now; undefined if it can. */
function notReady() {
  if (stopping) return 'stopping';
  if (!channels.up) return `no Redis: ${channels.trouble}`;
  return channels.pinnedLive ? undefined : `not subscribed to ${config.cacheChannel} yet`;
}

function respond(response, status, body, type = 'text/plain') {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }).end(body);
}

const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/livez') respond(response, 200, 'alive\n');
  else if (path === '/readyz') {
    const reason = notReady();
    respond(response, reason ? 503 : 200, `${reason ?? 'ready'}\n`);
  } else if (path.startsWith('/cache/')) {
    const entry = cache.get(unquoted(path.slice('/cache/'.length)));
    if (entry) respond(response, 200, entry, 'application/json');
    else respond(response, 404, 'not in the cache\n');
  } else respond(response, 404, 'not found\n');
});

function unquoted(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Browsers send an Origin, and a page of any site can open a WebSocket to here: only this host's own pages may. */
function ofAnotherSite({ headers: { origin, host } }) {
  return origin !== undefined && ![`http://${host}`, `https://${host}`].includes(origin);
}

server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => {}); // of the peer's making
  const status = stopping ? 503 : request.url.split('?')[0] !== '/ws' ? 404 : ofAnotherSite(request) ? 403 : 101;
  const welcome = (client) => sockets.emit('connection', client, request);
  if (status === 101) sockets.handleUpgrade(request, socket, head, welcome);
  else socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
});
server.on('error', (error) => {
  fail(1, `cannot listen on ${config.host}:${config.port}: ${error.message}`);
});
server.listen({ host: config.host, port: config.port, backlog: 1024 }, () => {
  log(`listening on http://${config.host}:${server.address().port} pid=${process.pid}`);
});

// The end

/** No new clients; 1001 to the others, whom ws terminates after closeTimeout; then the journal's last line. */
async function stop() {
  if (stopping) return;
  stopping = true;
  server.close();
  log(`stopping: ${sockets.clients.size} clients`);
  const ends = [...sockets.clients].map((client) => new Promise((ended) => client.once('close', ended)));
  for (const client of sockets.clients) client.close(GOING_AWAY, 'going away');
  await Promise.all(ends);
  channels.close();
  journal.event(now(), 'stop');
  journal.close();
  process.exit(0);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
