// Whether the server has fallen silent in the middle of a walk. A line can be dead without being closed: a proxy that hangs, a
// server that was stopped, a cable that was pulled. A browser says nothing of it.
//
// How long a silence is too long follows from the world: a chunk that takes a minute to draw is no stall.

import { say } from "./words.js";

/** How much longer than two chunks nothing may come. */
const PATIENCE_MS = 1000;
/** From then on another connection is tried, and for a world with longer chunks later. */
const GIVE_UP_MS = 10_000;
/** Chunks whose distances are remembered: enough for a median that one stall does not move. */
const REMEMBERED = 7;

export class Silence {
  #chunkMs;
  /** When something came last; null: nothing is expected. @type {number | null} */
  #heardAt = null;
  /** The chunk that came last, and when. @type {{ index: number, at: number } | null} */
  #chunk = null;
  /** @type {number[]} */
  #distances = [];

  /** @param {number} chunkMs how long the pictures of a chunk are shown */
  constructor(chunkMs) {
    this.#chunkMs = chunkMs;
  }

  /** Something is expected from now on. @param {number} now */
  listen(now) {
    this.#heardAt = now;
    this.#chunk = null;
  }

  /** Nothing is expected: the server rests, or is known to be away. */
  rest() {
    this.#heardAt = null;
  }

  /** A message came. @param {number} now */
  heard(now) {
    if (this.#heardAt !== null) this.#heardAt = now;
  }

  /** It had pictures of this chunk. @param {number} index @param {number} now */
  chunk(index, now) {
    if (this.#chunk?.index === index) return;
    if (this.#chunk) this.#distances = [...this.#distances, now - this.#chunk.at].slice(-REMEMBERED);
    this.#chunk = { index, at: now };
  }

  /** For how long nothing has come, in milliseconds; null while that is as it should be. @param {number} now */
  stalledFor(now) {
    const silent = this.#silent(now);
    return silent > this.#expected ? silent : null;
  }

  /** Whether another connection should be tried. @param {number} now */
  isOver(now) {
    return this.#silent(now) > Math.max(GIVE_UP_MS, 2 * this.#expected);
  }

  /** @param {number} now */
  #silent(now) {
    return this.#heardAt === null ? 0 : now - this.#heardAt;
  }

  /** The longest silence that says nothing. */
  get #expected() {
    const median = this.#distances.toSorted((a, b) => a - b)[this.#distances.length >> 1] ?? 0;
    return 2 * Math.max(this.#chunkMs, median) + PATIENCE_MS;
  }
}

/** @param {number} ms */
export const stalledText = (ms) => say("stalled", { seconds: Math.floor(ms / 1000) });
