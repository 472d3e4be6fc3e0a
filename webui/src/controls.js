// Which keys are held, and which changes still have to be sent.
//
// An action can be held twice, by a finger and by a key: it ends when the last of them lets go.

/**
 * @typedef {{ actions: string[], at: number }} Transition  All that is held from `at` (page milliseconds) on.
 */

/** The socket has this much unsent: its reader is behind, and more messages would only queue. */
const BACKED_UP_BYTES = 64 * 1024;

/** Transitions that are kept while the socket is backed up: a tap must survive, the history before it need not. */
const PENDING_MAX = 8;

export class Controls {
  /** @type {Map<string, Set<string>>} action → what holds it */
  #holders = new Map();
  /** @type {Transition[]} */
  #pending = [];

  /** The actions held, in a fixed order. Opposite ones are both in it: the world cancels them. */
  get held() {
    return [...this.#holders.keys()].sort();
  }

  /**
   * All that `holder` (a key's code, a pointer) holds from now on. Holding on, as auto-repeat does, changes nothing.
   * @param {string} holder @param {string[]} actions @param {number} now
   */
  hold(holder, actions, now) {
    const before = this.held.join();
    for (const action of actions) {
      if (!this.#holders.has(action)) this.#holders.set(action, new Set());
      this.#holders.get(action)?.add(holder);
    }
    for (const [action, holders] of this.#holders) {
      if (!actions.includes(action)) holders.delete(holder);
      if (holders.size === 0) this.#holders.delete(action);
    }
    // One change, where a finger slides from one key to the next.
    if (this.held.join() !== before) this.#changed(now);
  }

  /**
   * Release everything: the page cannot see the keys any more.
   * @param {number} now
   */
  releaseAll(now) {
    if (this.#holders.size === 0) return;
    this.#holders.clear();
    this.#changed(now);
  }

  /**
   * A new session knows nothing, and neither does one that another led: it is sent what is held now, and nothing from before.
   * @param {number} now
   */
  begin(now) {
    this.#pending = [];
    if (this.#holders.size > 0) this.#changed(now);
  }

  /**
   * What to send now: at once, unless the socket is backed up.
   * @param {number} bufferedBytes what the socket holds unsent
   * @returns {Transition[] | null}
   */
  take(bufferedBytes) {
    if (this.#pending.length === 0 || bufferedBytes > BACKED_UP_BYTES) return null;
    const transitions = this.#pending;
    this.#pending = [];
    return transitions;
  }

  /** @param {number} now */
  #changed(now) {
    this.#pending.push({ actions: this.held, at: now });
    if (this.#pending.length > PENDING_MAX) {
      const final = this.#pending[this.#pending.length - 1];
      const tap = this.#pending.findLast((transition) => transition.actions.length > 0);
      this.#pending = tap && tap !== final ? [tap, final] : [final];
    }
  }
}
