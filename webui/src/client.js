// A client without a page: pictures come by iterating, keys and prompts go out, each with a receipt. It runs in browsers and,
// where there is a WebSocket, in Node.
//
// A browser's socket cannot be told to wait: pictures that nobody takes are kept, so a session is paced unless asked otherwise.

import {
  closeSentence, errorSentence, handOverEvent, init, keysEvent, ledEvent, pauseEvent, promptEvent, resetEvent, rewindEvent, shareEvent,
  takeBackEvent, unshareEvent, waitEvent, watch,
} from "./protocol.js";
import { Line } from "./line.js";
import { Silence } from "./silence.js";

/** How often the queue is told that somebody is still there. */
const STILL_EVERY_MS = 20_000;
/** How often it is looked whether the server has fallen silent. */
const LISTEN_EVERY_MS = 1000;
/** Receipts that nobody takes must not pile up. */
const RECEIPTS_MAX = 256;
/** How long a chunk is taken to last until its distance to the next is known. */
const CHUNK_MS = 1000;
const FEATURES = /** @type {const} */ (["queue", "session", "pause", "ack", "reset", "rates", "poses", "intrinsics", "receipts", "spectators", "moved"]);

/**
 * @typedef {import("./protocol.js").Pictures} Pictures
 * @typedef {{ eventId: number, chunk: number, superseded: boolean, firstFrame: number | null }} Receipt  The first chunk that shows an
 *   event, and the first video frame where the server says it; or, that another event replaced it before any could.
 * @typedef {(Omit<Parameters<typeof init>[0], "format"> & { format?: import("./protocol.js").PictureFormat }) |
 *   { watch: string, format?: import("./protocol.js").PictureFormat, key?: null }} Start  How a walk begins; or, the token of one to watch.
 */

/** The server did not do what was asked, or the session ended otherwise than by its last chunk. */
export class Ended extends Error {
  /** @param {string} message for a person @param {number | null} code of the close @param {string} reason in the server's words */
  constructor(message, code, reason) {
    super(message);
    this.name = "Ended";
    this.code = code;
    this.reason = reason;
  }
}

/** @implements {AsyncIterable<Pictures>} */
export class Client {
  #line;
  #lastId = 0;
  /** @type {Map<number, PromiseWithResolvers>} @typedef {{ promise: Promise<Receipt>, resolve: (receipt: Receipt) => void, reject: (why: Error) => void }} PromiseWithResolvers */
  #receipts = new Map();
  /** @type {Pictures[]} */
  #waiting = [];
  /** Wakes whoever iterates. */
  #wake = () => {};
  /** How it ended; null: it has not. @type {{ error: Error | null } | null} */
  #end = null;
  /** Pictures of this chunk that were given out, and that came over this connection. */
  #chunk = { index: -1, given: 0, came: 0 };
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #still;
  /** A line can be dead without being closed. @type {Silence | null} null until the first picture */
  #silence = null;
  #listening;
  #acks = false;
  /** Said while there was no connection. @type {object[]} */
  #unsent = [];
  /** What steered last, of each kind. @type {Map<string, { id: number, event: object }>} */
  #last = new Map();
  /** The largest id whose event is known to have arrived. */
  #seen = 0;
  #news;
  /** What the session is, once the server has said so. @type {import("./protocol.js").Begun | null} */
  begun = null;
  /** The place in the queue, while there is one. @type {import("./protocol.js").Standing | null} */
  standing = null;

  /**
   * @param {string} url of the socket, `ws://` or `wss://`
   * @param {Start} start
   * @param {(message: Exclude<import("./line.js").Message, Pictures>) => void} [news] hears every message that has no pictures
   */
  constructor(url, start, news = () => {}) {
    this.#news = news;
    const first = "watch" in start ? watch(start.watch, start.format) : init({ format: "jpeg", features: FEATURES, ...start });
    this.#line = new Line(url, first, start.key ?? null, {
      opened: () => this.#unsent.splice(0).forEach((event) => this.#line.send(event)),
      received: (message) => this.#received(message),
      lost: () => this.#silence?.rest(),
      back: () => {
        this.#silence?.listen(performance.now());
        this.#chunk.came = 0;
        // What steered last may have been lost with the line.
        for (const { id, event } of this.#last.values()) if (id > this.#seen) this.#line.send(event);
      },
      over: (code, reason) => this.#over(code === 1000 && reason === "generation complete" ? null : new Ended(closeSentence(code, reason), code, reason)),
    });
    this.#listening = setInterval(() => {
      if (this.#line.canComeBack && this.#silence?.isOver(performance.now())) this.#line.replace();
    }, LISTEN_EVERY_MS);
  }

  /** How often the session went on after a cut. */
  get resumes() {
    return this.#line.resumes;
  }

  /** From now on these keys are held: `hold(["w", "l"])`, `hold([])`. @param {readonly string[]} keys @returns {number} the event's id */
  hold(keys) {
    return this.#say((id) => keysEvent(id, [{ actions: [...keys], at: performance.now() }]));
  }

  /** Press and release: shown for one latent frame at least. @param {readonly string[]} keys @returns {number} the event's id */
  tap(keys) {
    const at = performance.now();
    return this.#say((id) => keysEvent(id, [{ actions: [...keys], at }, { actions: [], at }]));
  }

  /** Move at a part of what a held key does. Only in worlds that follow rates. @param {import("./protocol.js").Rates} rates @returns {number} the event's id */
  rates(rates) {
    return this.#say((id) => ledEvent(id, { rates }));
  }

  /**
   * Lead the camera: 16 numbers row by row that take a point of the world into the camera's axes (x right, y down, z forward). Only
   * in worlds that follow poses.
   * @param {readonly number[]} pose @returns {number} the event's id
   */
  pose(pose) {
    return this.#say((id) => ledEvent(id, { pose }));
  }

  /** Draw what follows under another prompt. @param {string} text @returns {number} the event's id */
  prompt(text) {
    return this.#say((id) => promptEvent(id, text));
  }

  /**
   * Go back in the video, and go on from there. Only where the client's `features` name `rewind`, and the session offers it: the server
   * keeps states for it, which take memory.
   * @param {{ seconds: number } | { chunk: number }} to
   */
  rewind(to) {
    this.#line.send(rewindEvent(to));
  }

  /** Begin another video in this session. Only for a server with the feature `reset`. @param {import("./protocol.js").Beginning} [beginning] */
  reset(beginning = {}) {
    this.#line.send(resetEvent(beginning));
  }

  /**
   * Let others watch; `news` hears a `shared` message with the token. This and the next three only for a server with the feature
   * `spectators`.
   * @param {"view" | "director" | "control"} role
   */
  share(role = "view") {
    this.#line.send(shareEvent(role));
  }

  /** End a token, and send its viewers away. @param {number} shareId */
  unshare(shareId) {
    this.#line.send(unshareEvent(shareId));
  }

  /** Let a viewer hold what its role allows; `viewers` messages say who there is. @param {number} viewerId */
  handOver(viewerId) {
    this.#line.send(handOverEvent(viewerId));
  }

  /** Steer alone again. */
  takeBack() {
    this.#line.send(takeBackEvent());
  }

  /** Draw no more, until `play`. Only for a server with the feature `pause`. */
  pause() {
    this.#silence?.rest();
    this.#line.send(pauseEvent("pause"));
  }

  play() {
    this.#silence?.listen(performance.now());
    this.#line.send(pauseEvent("resume"));
  }

  /**
   * What became of an event. A server without receipts is believed by the ids on its pictures.
   * @param {number} id
   * @returns {Promise<Receipt>} fails where the server refused the event, or the session ended before
   */
  receipt(id) {
    const receipt = this.#receipts.get(id);
    return receipt ? receipt.promise : Promise.reject(new RangeError(`no receipt is kept for event ${id}`));
  }

  /** Leave. Who iterates gets no more. */
  close() {
    this.#line.close();
    this.#over(null);
  }

  /** @returns {AsyncGenerator<Pictures, void, void>} */
  async *[Symbol.asyncIterator]() {
    try {
      while (true) {
        const pictures = this.#waiting.shift();
        if (pictures) yield pictures;
        else if (this.#end?.error) throw this.#end.error;
        else if (this.#end) return;
        else await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
      }
    } finally {
      this.close();
    }
  }

  /** @param {(id: number) => ReturnType<typeof keysEvent> | ReturnType<typeof ledEvent> | ReturnType<typeof promptEvent>} event */
  #say(event) {
    const id = ++this.#lastId;
    const receipt = /** @type {PromiseWithResolvers} */ ({});
    receipt.promise = new Promise((resolve, reject) => Object.assign(receipt, { resolve, reject }));
    receipt.promise.catch(() => {}); // nobody has to ask for it
    this.#receipts.set(id, receipt);
    this.#receipts.delete(id - RECEIPTS_MAX);
    const said = event(id);
    this.#last.set(said.kind, { id, event: said });
    if (this.#line.open) this.#line.send(said);
    else this.#unsent.push(said);
    return id;
  }

  /** @param {import("./line.js").Message} message */
  #received(message) {
    if (message.kind === "pictures") return this.#pictures(message);
    if (message.kind === "queue") {
      this.standing = message;
      this.#still ??= setInterval(() => this.#line.send(waitEvent()), STILL_EVERY_MS);
    } else if (message.kind === "begun") {
      this.begun = message;
      this.#acks = message.features.includes("ack");
      this.#placed();
    } else if (message.kind === "ack") {
      const { chunk, applied, firstFrames, superseded } = message;
      // A server with receipts says each twice, the second time with its frame.
      if (this.begun?.features.includes("receipts") && applied.length > 0 && firstFrames[0] === null) return;
      applied.forEach((id, i) => this.#settle({ eventId: id, chunk, superseded: false, firstFrame: firstFrames[i] }));
      for (const id of superseded) this.#settle({ eventId: id, chunk, superseded: true, firstFrame: null });
    } else if (message.kind === "error") {
      const why = new Ended(errorSentence(message), null, message.content);
      if (message.eventId !== null) this.#receipts.get(message.eventId)?.reject(why);
      else if (message.content !== "invalid event") {
        this.#line.close();
        this.#over(why);
      }
    }
    this.#news(message);
  }

  /** @param {Pictures} pictures */
  #pictures(pictures) {
    this.#placed();
    const { chunk, eventId, pieces } = pictures;
    const now = performance.now();
    if (this.#silence === null) {
      this.#silence = new Silence(CHUNK_MS);
      this.#silence.listen(now);
    }
    this.#silence.heard(now);
    this.#silence.chunk(chunk, now);
    // All who steer share one count of events.
    this.#lastId = Math.max(this.#lastId, eventId ?? 0);
    if (chunk !== this.#chunk.index) this.#chunk = { index: chunk, given: 0, came: 0 };
    // A chunk that was cut comes again from its beginning: some of it was given out before.
    const known = Math.min(pieces.length, Math.max(0, this.#chunk.given - this.#chunk.came));
    this.#chunk.came += pieces.length;
    this.#chunk.given = Math.max(this.#chunk.given, this.#chunk.came);
    if (!this.#acks && eventId !== null) {
      for (const id of this.#receipts.keys()) if (id <= eventId) this.#settle({ eventId: id, chunk, superseded: false, firstFrame: null });
    }
    if (known === pieces.length) return;
    const keyFrames = pictures.keyFrames.map((key) => key - known).filter((key) => key >= 0);
    this.#waiting.push({ ...pictures, pieces: pieces.slice(known), keyFrames });
    this.#wake();
  }

  /** There is a place. */
  #placed() {
    clearInterval(this.#still);
    this.#still = undefined;
    this.standing = null;
  }

  /** @param {Receipt} receipt */
  #settle(receipt) {
    this.#seen = Math.max(this.#seen, receipt.eventId);
    this.#receipts.get(receipt.eventId)?.resolve(receipt);
  }

  /** @param {Error | null} error */
  #over(error) {
    if (this.#end) return;
    this.#end = { error };
    clearInterval(this.#still);
    clearInterval(this.#listening);
    for (const { reject } of this.#receipts.values()) reject(error ?? new Ended("The session is over.", 1000, ""));
    this.#wake();
  }
}
