// How evenly pictures were shown lately: one bar for each, as long as the picture before it stayed.

/** @typedef {{ ms: number, answers: boolean }} Bar  `answers`: the first picture that obeys a new input. */

/** Bars that are kept: some seconds. */
const BARS = 120;
/** A bar longer than so many frame times is a stutter that is seen. */
export const STUTTER = 1.5;

export class Timeline {
  /** @type {Bar[]} */
  #bars = [];
  /** @type {number | null} */
  #last = null;
  /** @type {number | null} */
  #eventId = null;

  /** A picture is shown. @param {number} now @param {number | null} eventId the newest input that it obeys */
  shown(now, eventId) {
    if (this.#last !== null) {
      this.#bars.push({ ms: now - this.#last, answers: eventId !== this.#eventId });
      if (this.#bars.length > BARS) this.#bars.shift();
    }
    this.#last = now;
    this.#eventId = eventId;
  }

  /** The world rested: that is no stutter. */
  rested() {
    this.#last = null;
  }

  clear() {
    this.#bars = [];
    this.#last = this.#eventId = null;
  }

  /** The oldest first. @returns {readonly Bar[]} */
  get bars() {
    return this.#bars;
  }
}

/**
 * @param {CanvasRenderingContext2D} context @param {readonly Bar[]} bars @param {number} frameMs what each should last
 */
export function drawTimeline(context, bars, frameMs) {
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  const step = width / BARS;
  // Three frame times fill the height; a longer stop is cut there.
  const scale = height / (3 * frameMs);
  bars.forEach(({ ms, answers }, i) => {
    const x = width - (bars.length - i) * step;
    const tall = Math.min(height, ms * scale);
    context.fillStyle = ms > STUTTER * frameMs ? "#ff8f85" : "#6fcf97";
    context.fillRect(x, height - tall, Math.max(1, step - 1), tall);
    if (!answers) return;
    context.fillStyle = "#f0b35a";
    context.fillRect(x, 0, Math.max(1, step - 1), 5);
  });
  context.fillStyle = "rgb(255 255 255 / .5)";
  context.fillRect(0, height - frameMs * scale, width, 1);
}
