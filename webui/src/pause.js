// Whether the world should rest, and what of that still has to be said to the server.
//
// A pause outlasts a cut of the line, but its message may have been lost with it: after a cut nothing is known, so what
// holds is said again.

/** One for each session. */
export class Pause {
  /** The visitor wants it; the tab coming back does not end that. */
  byHand = false;
  /** The server has said hello on this connection. Only one that takes pauses does; another would answer with an error. */
  #heard = false;
  /** What the server was told last; null: nobody knows. @type {boolean | null} */
  #told = false;

  /** The server is there, and takes pauses. */
  hello() {
    this.#heard = true;
  }

  /** The line was cut. */
  lost() {
    this.#heard = false;
    this.#told = null;
  }

  /** The server rests, as far as it was told. */
  get told() {
    return this.#told === true;
  }

  /**
   * What to say now, taken as said. Nobody looks at a hidden tab, except later at its recording.
   * @param {boolean} hidden @param {boolean} recording
   * @returns {"pause" | "resume" | null}
   */
  take(hidden, recording) {
    const wanted = this.byHand || (hidden && !recording);
    if (!this.#heard || wanted === this.#told) return null;
    this.#told = wanted;
    return wanted ? "pause" : "resume";
  }
}
