// The line to a session: one connection after another. A line that breaks is replaced, as long as the server waits for the
// session, and what was missed comes first on the new one.

import { Connection } from "./connection.js";
import { LINE_LOST } from "./ending.js";
import { resume } from "./protocol.js";

/** Between two attempts to come back. */
const RETURN_EVERY_MS = 500;
/** For an answer to the first message of a connection that comes back, and for a connection to open. */
const ANSWER_WITHIN_MS = 5000;
/** A server that hears no pong ends the connection; a client that comes back finds its session. */
const NO_PONG = "keepalive ping timeout";

/**
 * @typedef {NonNullable<ReturnType<import("./protocol.js").Incoming["receive"]>>} Message
 * @typedef {{ opened: () => void, received: (message: Message) => void, lost: () => void, back: () => void,
 *   over: (code: number, reason: string, opened: boolean) => void }} Listener
 *   `opened`: a connection is open, and its first message sent. `lost`: it broke, and another is tried. `back`: the session goes
 *   on; its `session` message comes next. `over`: there will be no other connection; not called after `close()`.
 */

export class Line {
  #url;
  #key;
  #listener;
  /** @type {Connection | null} null: it is over */
  #connection;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {string | null} */
  #token = null;
  #graceMs = 0;
  /** @type {number | null} */
  #lostAt = null;
  /** The last chunk that came whole. @type {number | null} */
  #chunk = null;
  /** The session goes on at another server: the close that follows is no end. */
  #moved = false;
  /** How often the session went on after a cut. */
  resumes = 0;

  /**
   * @param {string} url @param {object} first the init @param {string | null} key for a server that asks for one
   * @param {Listener} listener
   */
  constructor(url, first, key, listener) {
    this.#url = url;
    this.#key = key;
    this.#listener = listener;
    this.#connection = this.#connect(first);
  }

  get open() {
    return this.#connection?.open ?? false;
  }

  /** Whether a broken line can be replaced. */
  get canComeBack() {
    return this.#token !== null;
  }

  /** Bytes handed to `send` that have not left yet. */
  get bufferedBytes() {
    return this.#connection?.bufferedBytes ?? 0;
  }

  /** @param {object} message */
  send(message) {
    this.#connection?.send(message);
  }

  /** The connection has been silent for too long: another is tried. */
  replace() {
    this.#connection?.close();
    this.#comeBack();
  }

  /** End it. Nothing is heard from it after this. */
  close() {
    clearTimeout(this.#timer);
    this.#connection?.close();
    this.#connection = null;
  }

  /** @param {object} first the message to begin with @returns {Connection} */
  #connect(first) {
    let opened = false;
    const over = (/** @type {number} */ code, /** @type {string} */ reason) => {
      clearTimeout(timer);
      const moved = this.#moved;
      this.#moved = false;
      if ((moved || code === LINE_LOST || reason === NO_PONG) && this.canComeBack && this.#comeBack(moved ? 0 : RETURN_EVERY_MS)) return;
      this.#connection = null;
      this.#listener.over(code, reason, opened);
    };
    // A server that is stopped takes a connection and answers nothing.
    const timer = setTimeout(() => {
      if (this.#connection !== connection || (opened && this.#lostAt === null)) return;
      connection.close();
      over(LINE_LOST, "");
    }, ANSWER_WITHIN_MS);
    const connection = new Connection(this.#url, {
      opened: () => {
        opened = true;
        connection.send(first);
        this.#listener.opened();
      },
      received: (message) => {
        clearTimeout(timer);
        this.#received(message);
      },
      closed: over,
    });
    this.#timer = timer;
    return connection;
  }

  /** @param {Message} message */
  #received(message) {
    if (message.kind === "stats") this.#chunk = message.chunk;
    if (message.kind === "moved") {
      this.#moved = true;
      this.#url = message.url ?? this.#url;
    }
    if (message.kind === "session") {
      if (this.#lostAt !== null) {
        this.#lostAt = null;
        this.resumes += 1;
        this.#listener.back();
      }
      this.#token = message.token;
      this.#graceMs = message.graceMs;
    }
    this.#listener.received(message);
  }

  /** Connect again, as long as the server waits for this session. Returns whether there is time left. */
  #comeBack(afterMs = RETURN_EVERY_MS) {
    const now = performance.now();
    this.#lostAt ??= now;
    this.#listener.lost();
    if (now - this.#lostAt > this.#graceMs) return false;
    this.#timer = setTimeout(() => {
      // A chunk that was cut is sent again from its beginning.
      if (this.#connection) this.#connection = this.#connect(resume(/** @type {string} */ (this.#token), this.#chunk, this.#key));
    }, afterMs);
    return true;
  }
}
