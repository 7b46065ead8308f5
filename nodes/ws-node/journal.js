// The journal of nodes/PROTOCOL.md, section 5: JSON lines, gathered for at most 20 ms and appended in one write. It and
// the calls of it are all that a server needs so that fanlab can tell where a message was lost.

import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';

const FLUSH_AFTER_MS = 20;
const FLUSH_CHARS = 64 * 1024;
const BACKLOG_BYTES = 8 * 1024 * 1024; // kept while the disk refuses; past it, new lines are lost
const TOKEN = /fl1[0-9a-f]{44}/;
const MARK_CHARS = 19;

/** CLOCK_MONOTONIC in nanoseconds. A BigInt: after 104 days of uptime it no longer fits into a Number. */
export const now = () => process.hrtime.bigint();

/** Appends to one file. Without a path nothing is kept. */
export class Journal {
  #fd = null;
  #lines = '';
  #rest = Buffer.alloc(0); // what the disk has not taken yet
  #timer = null;
  #log;
  #failed = false;

  /** Opens or creates `path`; throws where that cannot be done. */
  constructor(path, log) {
    this.#log = log;
    if (!path) return;
    this.#fd = openSync(path, 'a+');
    const { size } = fstatSync(this.#fd);
    const last = Buffer.alloc(1);
    if (size && readSync(this.#fd, last, 0, 1, size - 1) && last[0] !== 10) {
      this.#rest = Buffer.from('\n'); // a killed process left half a line: end it, so that ours begins a new one
    }
  }

  /** The leading part of the fanlab token in a payload, which names the message; undefined without a token. */
  mark(payload) {
    return this.#fd === null ? undefined : TOKEN.exec(payload.toString('latin1'))?.[0].slice(0, MARK_CHARS);
  }

  /** One event at `t` (ns). Fields that are undefined are left out. */
  event(t, ev, fields = {}) {
    if (this.#fd === null || this.#rest.length > BACKLOG_BYTES) return;
    let line = `{"t":${t},"ev":"${ev}"`;
    for (const [name, value] of Object.entries(fields)) {
      if (value !== undefined) line += `,"${name}":${typeof value === 'bigint' ? value : JSON.stringify(value)}`;
    }
    this.#lines += `${line}}\n`;
    if (this.#lines.length >= FLUSH_CHARS) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  /** Writes what was gathered. A disk that refuses is told of once, and stops nothing. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#fd === null) return;
    this.#rest = Buffer.concat([this.#rest, Buffer.from(this.#lines)]);
    this.#lines = '';
    try {
      while (this.#rest.length) this.#rest = this.#rest.subarray(writeSync(this.#fd, this.#rest));
    } catch (error) {
      if (!this.#failed) this.#log(`the journal cannot be written: ${error.message}; going on without`);
      this.#failed = true;
      this.#timer = setTimeout(() => this.flush(), 1000);
    }
  }

  close() {
    this.flush();
    clearTimeout(this.#timer);
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}
