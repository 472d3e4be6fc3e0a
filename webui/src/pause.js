// Whether the session should pause, and what still has to be sent to the server for that.
//
// A pause outlasts a cut line, but its message may have been lost with the line. So after a cut the current state is sent
// again.

/** One for each session. */
export class Pause {
  /** The visitor paused: a tab that becomes visible does not end that. */
  byHand = false;
  /** The server sent `session` on this connection, so it takes pauses. Another server would answer one with an error. */
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
   * What to send now; it counts as sent. A hidden tab pauses unless it records: the recording will be looked at later.
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
