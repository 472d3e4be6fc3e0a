// How the server's clock differs from the page's, told by pairs of times. The pair that was on its way the shortest counts: half of
// that is the most by which it can be wrong.

/** Ask often at first, so that one slow way does not decide, and seldom later: clocks drift by little. */
const FIRST_EVERY_MS = 500;
const FIRST_ASKS = 4;
const EVERY_MS = 10_000;
/** Pairs that are remembered: of less than two minutes. */
const KEPT = 10;

export class LineClock {
  /** @type {{ ahead: number, way: number }[]} */
  #pairs = [];
  #asked = 0;
  #askAt = -Infinity;

  /** A new line: ask anew. The server counts from the session's beginning. */
  begin() {
    this.#pairs = [];
    this.#asked = 0;
    this.#askAt = -Infinity;
  }

  /** Whether it is time to ask. To be called often. @param {number} now */
  asks(now) {
    if (now < this.#askAt) return false;
    this.#asked += 1;
    this.#askAt = now + (this.#asked < FIRST_ASKS ? FIRST_EVERY_MS : EVERY_MS);
    return true;
  }

  /**
   * An answer came. @param {{ clientMs: number, receivedMs: number, sentMs: number }} answer when it was asked for, here, and when the
   * question came and the answer left, there @param {number} now
   */
  answered({ clientMs, receivedMs, sentMs }, now) {
    const ahead = (receivedMs - clientMs + sentMs - now) / 2;
    this.#pairs = [...this.#pairs, { ahead, way: now - clientMs - (sentMs - receivedMs) }].slice(-KEPT);
  }

  /** A time of the server as one of the page; null before the first answer. @param {number} serverMs */
  here(serverMs) {
    const [first, ...rest] = this.#pairs;
    if (!first) return null;
    return serverMs - rest.reduce((best, pair) => (pair.way < best.way ? pair : best), first).ahead;
  }
}
