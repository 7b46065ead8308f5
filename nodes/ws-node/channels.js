// What this node listens to at Redis: one subscription per channel, however many clients want it.
//
// node-redis connects and subscribes again by itself, and says `ready` when Redis has confirmed that. It does not tell
// what was lost meanwhile. Redis answers in order, so when the answer to a PING has come, all that was published before
// that PING was sent has come too: a gap begins there, and ends when the channel is confirmed again.

import { ConnectionTimeoutError, ErrorReply, createClient } from 'redis';

import { now } from './journal.js';

const verbatim = JSON.stringify; // a client chooses its channels' names: none may forge a line of the log

class SilenceError extends Error {}

class Channel {
  members = new Set(); // who get its messages
  waiting = new Set(); // who get none yet: they are answered, and become members, when Redis confirms
  pinned = false; // the node itself listens
  held = false; // Redis has confirmed it, and node-redis subscribes again after a lost connection
  leaving = false; // an UNSUBSCRIBE is on its way
  live = false; // what is published now will come
  since = 0n; // live since
  gapFrom = null; // not live any more, and what was published from then on may not have come
  settling = false;

  constructor(name) {
    this.name = name;
  }

  get wanted() {
    return this.pinned || this.members.size > 0 || this.waiting.size > 0;
  }
}

export class Channels {
  up = false;
  trouble = 'not connected yet';
  #channels = new Map(); // by name
  #pins = new Set(); // names
  #redis;
  #journal;
  #log;
  #on;
  #knownGood = now();
  #greeting = false; // connected, and Redis has not answered yet
  #unanswered = 0; // ticks since Redis last said anything
  #silentTicks;
  #ticker;

  /** `on` has message(channel, payload, t), subscribed(client, name) and refused(client, name, reason). */
  constructor({ redisUrl, nodeId, pingMs, timeoutMs, retryMaxMs }, journal, log, on) {
    this.#journal = journal;
    this.#log = log;
    this.#on = on;
    this.#silentTicks = Math.max(2, Math.ceil(timeoutMs / pingMs));
    this.#redis = createClient({
      url: redisUrl,
      name: nodeId.replace(/[^!-~]/g, '_'), // CLIENT SETNAME takes no spaces
      maintNotifications: 'disabled',
      socket: {
        connectTimeout: timeoutMs,
        reconnectStrategy: (retries) => Math.min(retryMaxMs, 100 * 2 ** retries) * (0.8 + 0.4 * Math.random()),
      },
    });
    this.#redis.on('connect', () => this.#greets());
    this.#redis.on('ready', () => this.#ready());
    this.#redis.on('error', (error) => this.#lost(error));
    this.#connect();
    this.#ticker = setInterval(() => this.#tick(), pingMs);
  }

  /** Whether all that the node itself needs is live. */
  get pinnedLive() {
    return [...this.#pins].every((name) => this.#channels.get(name)?.live);
  }

  /** The node itself listens to a channel. */
  pin(name) {
    const channel = this.#obtain(name);
    this.#pins.add(name);
    channel.pinned = true;
    this.#settle(channel);
  }

  /** A client wants a channel: `on.subscribed` tells when it has it, at once if it is live already. */
  subscribe(client, name) {
    const channel = this.#obtain(name);
    if (channel.live) {
      channel.members.add(client);
      this.#on.subscribed(client, name);
    } else {
      channel.waiting.add(client);
      this.#settle(channel);
    }
  }

  /** A client leaves a channel, whether it was on it or not. */
  unsubscribe(client, name) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    channel.members.delete(client);
    channel.waiting.delete(client);
    this.#settle(channel);
  }

  /** The node ends. */
  close() {
    clearInterval(this.#ticker);
    for (const channel of this.#channels.values()) this.#endGap(channel, now());
    this.#redis.destroy();
  }

  #obtain(name) {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = new Channel(name);
      channel.listener = (payload) => {
        this.#unanswered = 0;
        this.#on.message(channel, payload, now());
      };
      this.#channels.set(name, channel);
    }
    return channel;
  }

  /** Subscribe or unsubscribe until Redis holds what is wanted. One at a time per channel, so nothing overtakes. */
  async #settle(channel) {
    if (channel.settling) return;
    channel.settling = true;
    while (channel.wanted !== channel.held) {
      const verb = channel.wanted ? 'subscribe' : 'unsubscribe';
      if (verb === 'unsubscribe') {
        channel.leaving = true;
        channel.live = false;
      }
      const failed = await this.#redis[verb](channel.name, channel.listener, true).then(
        () => null,
        (error) => error,
      );
      channel.leaving = false;
      if (failed instanceof ErrorReply) this.#refused(channel, failed.message);
      if (failed) continue; // the connection went: node-redis keeps what is asked now until there is another
      channel.held = verb === 'subscribe';
      if (channel.held) this.#confirmed(channel, now());
      else this.#left(channel, now());
    }
    channel.settling = false;
    if (!channel.wanted) this.#channels.delete(channel.name);
  }

  #confirmed(channel, t) {
    channel.live = true;
    channel.since = t;
    this.#endGap(channel, t);
    this.#journal.event(t, 'subscribed', { ch: channel.name });
    const answered = [...channel.waiting];
    channel.waiting.clear();
    for (const client of answered) {
      channel.members.add(client);
      this.#on.subscribed(client, channel.name);
    }
  }

  #left(channel, t) {
    this.#endGap(channel, t);
    this.#journal.event(t, 'unsubscribed', { ch: channel.name });
  }

  #refused(channel, reason) {
    this.#log(`redis refuses ${verbatim(channel.name)}: ${reason}`);
    const told = new Set([...channel.members, ...channel.waiting]);
    channel.members.clear();
    channel.waiting.clear();
    channel.pinned = false;
    for (const client of told) this.#on.refused(client, channel.name, reason);
  }

  #endGap(channel, t) {
    if (channel.gapFrom === null) return;
    this.#log(`gap in ${verbatim(channel.name)} of at most ${(t - channel.gapFrom) / 1_000_000n} ms`);
    this.#journal.event(t, 'gap', { ch: channel.name, from: channel.gapFrom, to: t });
    channel.gapFrom = null;
  }

  #connect() {
    this.#redis.connect().catch(() => {}); // told by `error`, and tried again
  }

  #greets() {
    this.#greeting = true;
    this.#unanswered = 0;
  }

  #ready() {
    const t = now();
    this.#greeting = false;
    this.up = true;
    this.trouble = '';
    this.#log('redis up');
    this.#journal.event(t, 'redis', { state: 'up' });
    for (const channel of this.#channels.values()) {
      if (channel.held && !channel.leaving) this.#confirmed(channel, t);
    }
  }

  #lost(error) {
    const t = now();
    const reason = error.message || error.code || error.name;
    if (this.up || reason !== this.trouble) {
      const timeout = error instanceof SilenceError || error instanceof ConnectionTimeoutError;
      const why = timeout || error.code === 'ETIMEDOUT' ? 'timeout' : this.up ? 'closed' : 'refused';
      this.#log(`redis down: ${reason}`);
      this.#journal.event(t, 'redis', { state: 'down', error: reason, why });
    }
    this.#greeting = this.up = false;
    this.trouble = reason;
    for (const channel of this.#channels.values()) {
      if (channel.live) channel.gapFrom = this.#knownGood > channel.since ? this.#knownGood : channel.since;
      channel.live = false;
    }
    if (this.#redis.isReady) this.#replace(); // an error that left the connection up: it cannot be trusted any more
  }

  /** Gives up a connection that is open. The subscriptions move to the next one, as after a lost one. */
  #replace() {
    this.#redis.destroy();
    setTimeout(() => this.#connect(), 100); // not before node-redis has noticed
  }

  /** Counts ticks of this process, not seconds: after a SIGSTOP it would blame Redis for its own silence. */
  #tick() {
    if (!this.up && !this.#greeting) return;
    if (++this.#unanswered > this.#silentTicks) {
      const greeting = this.#greeting;
      this.#lost(new SilenceError('Redis says nothing'));
      if (greeting) this.#replace();
    } else if (this.up) {
      const sent = now();
      const answered = () => {
        this.#unanswered = 0;
        this.#knownGood = sent;
      };
      this.#redis.ping().then(answered, () => {}); // when the connection goes, `error` tells
    }
  }
}
