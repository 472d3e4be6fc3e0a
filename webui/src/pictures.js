// The pictures of one walk: decoded by a worker, queued, and handed out when they are due.

import { Playback } from "./playback.js";
import { say } from "./words.js";

/** Pictures that may wait for the decoder. Past this, newer ones are dropped undecoded. */
const DECODING_MAX = 64;

/** @typedef {{ bitmap: ImageBitmap, chunk: number, eventId: number | null }} Frame */

export class Pictures {
  #walk;
  #decoder;
  /** @type {Playback<Frame>} */
  #playback;
  #decoding = 0;
  #undecoded = 0;
  /** Pictures were dropped since the decoder got some. */
  #gap = false;
  /** Pictures of chunks before this one are not shown any more. */
  #first = 0;
  /** The decoder's time for the last pictures, in milliseconds. @type {number | null} */
  decodeMs = null;

  /**
   * @param {number} walk the walk's number, which the decoder gives back with each picture
   * @param {Worker} decoder @param {number} fps what the world is made for
   */
  constructor(walk, decoder, fps) {
    this.#walk = walk;
    this.#decoder = decoder;
    this.#playback = new Playback(fps);
  }

  /** Pictures have come. @param {import("./protocol.js").Pictures} pictures */
  decode(pictures) {
    const { pieces } = pictures;
    if (this.#decoding + pieces.length > DECODING_MAX) {
      this.#undecoded += pieces.length;
      this.#gap = true;
      return;
    }
    this.#decoding += pieces.length;
    /** @type {import("./decoder.js").Job} */
    const job = { session: this.#walk, pictures, gap: this.#gap };
    this.#gap = false;
    // All pieces are views of one buffer: it goes over whole, and uncopied.
    this.#decoder.postMessage(job, pieces.length > 0 ? [pieces[0].buffer] : []);
  }

  /**
   * The decoder's answer.
   * @param {import("./decoder.js").Decoded} decoded @param {number} now
   * @returns {string | null} what is wrong with a picture, for the visitor
   */
  decoded({ chunk, eventId, count, bitmaps, decodeMs, error }, now) {
    this.#decoding -= count;
    this.decodeMs = decodeMs;
    if (error !== null) return say("picture_undecoded", { why: error });
    if (chunk < this.#first) {
      bitmaps.forEach((bitmap) => bitmap.close());
      return null;
    }
    const frames = bitmaps.map((bitmap) => ({ bitmap, chunk, eventId }));
    this.#playback.push(chunk, eventId, frames, now).forEach(free);
    return null;
  }

  /** The picture to show now, if a new one is due. It is the caller's. @param {number} now */
  due(now) {
    const due = this.#playback.due(now);
    const frame = due.pop();
    due.forEach(free);
    return frame;
  }

  /** The server rested: what comes next is not late, however long that was. */
  rested() {
    this.#playback.rested();
  }

  /** The walk goes on elsewhere: what comes before this chunk is not shown any more. @param {number} chunk */
  from(chunk) {
    this.#first = chunk;
    this.clear();
    this.rested();
  }

  /** Forgets what waits to be shown. */
  clear() {
    this.#playback.clear().forEach(free);
  }

  /** Pictures shown in the last second. @param {number} now */
  fps(now) {
    return this.#playback.fps(now);
  }

  get buffered() {
    return this.#playback.buffered;
  }

  get leadMs() {
    return this.#playback.lead;
  }

  /** Pictures that were never shown, to keep up with the server. */
  get skipped() {
    return this.#playback.dropped + this.#undecoded;
  }
}

/** @param {Frame} frame */
const free = ({ bitmap }) => bitmap.close();
