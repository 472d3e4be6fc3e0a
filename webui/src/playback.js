// When to show which picture. Frames come in bursts, a chunk at a time; they are shown evenly, and soon.
//
// Two numbers are measured, and the rest follows from them: the `pace` (milliseconds a frame, as the server delivers) and
// the `jitter` (how much later than that a chunk came). Whatever is queued is spread so that it lasts until the next chunk is
// expected, plus a small lead for the jitter. So a slow server gives slow motion, not stop and go; there is no buffering
// phase, and the first picture is shown when it comes.
//
// Pictures that obey a newer input are the exception: somebody waits for them. They are shown as soon as they come, and what
// is queued before them is dropped.

/** Half a screen refresh and a worker's hiccup: the lead where the network adds nothing. */
const LEAD_MIN_MS = 30;
/** More lead than this is a lag that a hand feels: then it is better to wait for a late chunk. */
const LEAD_MAX_MS = 400;
/** A queue this much too long is cut; a shorter surplus is played off a little faster. */
const SURPLUS_MAX_MS = 250;
/** How much faster and slower than they should frames are shown to correct the queue's length. A gap is seen as a stutter
 * from one and a half frame times on, and the screen's refresh adds up to a quarter of one. */
const FASTEST = 1.25;
const SLOWEST = 0.8;

/**
 * @template Frame
 */
export class Playback {
  /** @type {Frame[]} */
  #queue = [];
  #frameMs;
  #interval;
  #nextAt = -Infinity;
  /** The chunk that is arriving. @type {{ index: number, began: number, frames: number } | null} */
  #chunk = null;
  /** The newest input that the pictures obey. @type {number | null} */
  #eventId = null;
  /** @type {number[]} when the pictures of the last second were shown */
  #shownAt = [];

  /** Frames that were never shown, to catch up. */
  dropped = 0;
  /** Frames that were never shown because newer ones answered an input. */
  outdated = 0;

  /** @param {number} fps what the world is made for: never played faster than a little above */
  constructor(fps) {
    this.#frameMs = 1000 / fps;
    this.#interval = this.#frameMs;
    /** Milliseconds a frame, as delivered. */
    this.pace = this.#frameMs;
    /** Milliseconds by which chunks come late. */
    this.jitter = 0;
  }

  /** Frames waiting. */
  get buffered() {
    return this.#queue.length;
  }

  /** How long the queue is meant to last beyond the next chunk's arrival, in milliseconds. */
  get lead() {
    return Math.min(LEAD_MIN_MS + this.jitter, LEAD_MAX_MS);
  }

  /**
   * Frames of a chunk have come. A chunk may come in several parts.
   * @param {number} index the chunk's number @param {number | null} eventId the newest input that its pictures obey
   * @param {Frame[]} frames @param {number} now
   * @returns {Frame[]} frames that will not be shown any more, for the caller to free
   */
  push(index, eventId, frames, now) {
    if (this.#chunk?.index !== index) {
      if (this.#chunk && this.#chunk.frames > 0) this.#measure(now - this.#chunk.began, this.#chunk.frames);
      this.#chunk = { index, began: now, frames: 0 };
    }
    this.#chunk.frames += frames.length;
    const outdated = this.#answers(eventId) ? this.#cutOver(now) : [];
    this.outdated += outdated.length;
    // The queue ran dry: the new frame is due now, not at the time at which it would have been.
    if (this.#queue.length === 0) this.#nextAt = Math.max(this.#nextAt, now);
    this.#queue.push(...frames);

    const untilNextChunk = Math.max(0, this.#chunk.began + this.#chunk.frames * this.pace - now);
    const lasts = untilNextChunk + this.lead;
    const surplus = this.#queue.length * this.#frameMs - lasts;
    const dropped = surplus > SURPLUS_MAX_MS ? this.#queue.splice(0, Math.floor(surplus / this.#frameMs)) : [];
    this.dropped += dropped.length;
    // The picture on the screen stays until `nextAt`; the queue has to fill the rest.
    const rest = lasts - Math.max(0, this.#nextAt - now);
    this.#interval = clamp(rest / this.#queue.length, this.#frameMs / FASTEST, this.pace / SLOWEST);
    return [...outdated, ...dropped];
  }

  /**
   * The frames that are due. Only the last one need be drawn: the others are already over.
   * @param {number} now
   * @returns {Frame[]}
   */
  due(now) {
    let count = 0;
    while (count < this.#queue.length && this.#nextAt <= now) {
      count += 1;
      this.#nextAt += this.#interval;
    }
    if (count > 0) {
      this.#shownAt.push(now);
      while (this.#shownAt[0] <= now - 1000) this.#shownAt.shift();
    }
    return this.#queue.splice(0, count);
  }

  /**
   * Pictures shown in the last second.
   * @param {number} now
   */
  fps(now) {
    return this.#shownAt.filter((at) => at > now - 1000).length;
  }

  /** The server rested: what comes next is not late, however long that was. */
  rested() {
    this.#chunk = null;
  }

  /**
   * Everything that is still queued, for the caller to free.
   * @returns {Frame[]}
   */
  clear() {
    return this.#queue.splice(0);
  }

  /**
   * Whether somebody waits for pictures that obey this input: none before them did.
   * @param {number | null} eventId
   */
  #answers(eventId) {
    const isNewer = eventId !== null && eventId > (this.#eventId ?? -Infinity);
    if (isNewer) this.#eventId = eventId;
    return isNewer;
  }

  /**
   * What comes next is due now.
   * @param {number} now
   * @returns {Frame[]} what was queued
   */
  #cutOver(now) {
    this.#nextAt = Math.min(this.#nextAt, now);
    return this.#queue.splice(0);
  }

  /**
   * A chunk of `frames` lasted `took` until the next one came.
   * @param {number} took @param {number} frames
   */
  #measure(took, frames) {
    const late = took - frames * this.pace;
    // Up at once, since a frozen picture is seen; down slowly, since a little lag is not.
    this.jitter = Math.min(Math.max(late, 0.9 * this.jitter), LEAD_MAX_MS);
    this.pace = clamp(this.pace + 0.25 * (took / frames - this.pace), this.#frameMs, 1000);
  }
}

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
