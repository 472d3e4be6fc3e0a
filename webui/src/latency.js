// Numbers what is sent, and measures how long each takes to be seen.
//
// The server puts the id of the newest input that a picture obeys beside the picture; a later id answers the earlier ones.

/** Ids that never come back (an event the server refused) must not pile up. */
const WAITING_MAX = 256;
/** Enough for a median that one hiccup does not move. */
const SAMPLES = 9;

export class Latency {
  /** @type {Map<number, number>} event id → when it was sent */
  #sentAt = new Map();
  /** @type {number[]} */
  #recent = [];
  /** Those that no receipt has named yet. @type {Map<number, number>} */
  #untold = new Map();
  /** The newest id given out. Ids count through all sessions of a page. */
  lastId = 0;

  /** From input to picture, in milliseconds: the last one, null before the first. @type {number | null} */
  last = null;
  /** From input to its coming to the server, and to the first frame that it changes: the last of each. @type {{ received: number | null, applied: number | null }} */
  told = { received: null, applied: null };

  /**
   * Something is sent now: its id.
   * @param {number} now
   */
  sent(now) {
    this.#sentAt.set(++this.lastId, now);
    this.#untold.set(this.lastId, now);
    for (const waiting of [this.#sentAt, this.#untold]) waiting.delete(this.lastId - WAITING_MAX);
    return this.lastId;
  }

  /** The id of something that no picture answers. */
  number() {
    return ++this.lastId;
  }

  /**
   * A picture that obeys this input is on the screen now.
   * @param {number | null} eventId @param {number} now
   */
  shown(eventId, now) {
    if (eventId === null) return;
    for (const [id, sentAt] of this.#sentAt) {
      if (id > eventId) break;
      this.#sentAt.delete(id);
      if (id === eventId) {
        this.last = now - sentAt;
        this.#recent = [...this.#recent, this.last].slice(-SAMPLES);
      }
    }
  }

  /** The server has it. @param {number | null} eventId @param {number} at when it came there, by the page's clock */
  received(eventId, at) {
    const sentAt = eventId === null ? undefined : this.#untold.get(eventId);
    if (sentAt !== undefined) this.told.received = Math.max(0, at - sentAt);
  }

  /** Somebody else may have said this: all who steer a session count their events together. @param {number | null} eventId */
  saw(eventId) {
    this.lastId = Math.max(this.lastId, eventId ?? 0);
  }

  /** The first frames that obey these are here. @param {number[]} eventIds @param {number} now */
  applied(eventIds, now) {
    for (const id of eventIds) {
      const sentAt = this.#untold.get(id);
      if (sentAt !== undefined) this.told.applied = now - sentAt;
      this.#untold.delete(id);
    }
  }

  /** A new session: what the old one did not answer will not be answered. */
  begin() {
    this.#sentAt.clear();
    this.#untold.clear();
    this.told = { received: null, applied: null };
    this.#recent = [];
    this.last = null;
  }

  /** The middle one of the last few, null before the first. @returns {number | null} */
  get median() {
    return this.#recent.length > 0 ? this.#recent.toSorted((a, b) => a - b)[this.#recent.length >> 1] : null;
  }
}
