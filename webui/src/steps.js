// What was held during the last walk, as the script of a clip that walks the same way.
//
// A clip is steered once for each latent frame, which is four pictures. What was held is looked up in the middle of each. The
// server samples keys when it begins a chunk, so a clip can turn a fraction of a second earlier or later than the walk did.

const PICTURES_PER_STEP = 4;
/** The longest clip that servers draw by default, in pictures: what was held later is not kept. */
export const PICTURES_MAX = 481;

export class Steps {
  /** @type {{ word: string, ms: number }[]} what was held, and for how long */
  #spans = [];
  #word = "-";
  /** When the running span began; null: nobody walks. @type {number | null} */
  #since = null;

  /** A walk begins. @param {string[]} held @param {number} now */
  begin(held, now) {
    this.#spans = [];
    this.#word = word(held);
    this.#since = now;
  }

  /** Something else is held from now on. @param {string[]} held @param {number} now */
  held(held, now) {
    this.#close(now);
    this.#word = word(held);
  }

  /** The walk rests, or is over. @param {number} now */
  rest(now) {
    this.#close(now);
    this.#since = null;
  }

  /** It goes on. @param {number} now */
  goOn(now) {
    if (this.#spans.length > 0) this.#since ??= now;
  }

  /**
   * The walk so far; null if there was none.
   * @param {number} fps the world's @param {number} now
   * @returns {{ script: string, seconds: number } | null}
   */
  script(fps, now) {
    this.#close(now);
    const stepMs = (1000 * PICTURES_PER_STEP) / fps;
    const ms = this.#spans.reduce((sum, span) => sum + span.ms, 0);
    const steps = Math.min(Math.round(ms / stepMs), Math.floor(PICTURES_MAX / PICTURES_PER_STEP));
    if (steps === 0) return null;
    /** @type {[string, number][]} */
    const runs = [];
    let [span, passed] = [0, 0];
    for (let step = 0; step < steps; step++) {
      const middle = (step + 0.5) * stepMs;
      while (span < this.#spans.length - 1 && passed + this.#spans[span].ms <= middle) passed += this.#spans[span++].ms;
      const { word } = this.#spans[span];
      const run = runs.at(-1);
      if (run?.[0] === word) run[1] += 1;
      else runs.push([word, 1]);
    }
    return {
      script: runs.map(([word, count]) => (count === 1 ? word : `${word}*${count}`)).join(","),
      seconds: (steps * PICTURES_PER_STEP) / fps,
    };
  }

  /** @param {number} now */
  #close(now) {
    if (this.#since === null) return;
    this.#spans.push({ word: this.#word, ms: now - this.#since });
    this.#since = now;
  }
}

/** @param {string[]} held */
const word = (held) => (held.length === 0 ? "-" : held.join(""));
