// Three hints over the first walk's picture: each stays until it was followed, and none comes back at a later visit.

/** @typedef {"walk" | "look" | "prompt"} Hint */

/** @type {Hint[]} */
const HINTS = ["walk", "look", "prompt"];

export class Hints {
  #left = HINTS;

  /** @param {boolean} known whether they were followed at an earlier visit @param {readonly string[]} keys what the world knows */
  begin(known, keys) {
    const possible = HINTS.filter((hint) => hint === "prompt" || keys.includes(hint === "walk" ? "w" : "l"));
    this.#left = known ? [] : possible;
  }

  /** What to hint at now; null: nothing. @returns {Hint | null} */
  get now() {
    return this.#left[0] ?? null;
  }

  /** Something is held. @param {readonly string[]} held */
  held(held) {
    if (this.now === "walk" && held.some((action) => "wasd".includes(action))) this.#left = this.#left.slice(1);
    else if (this.now === "look" && held.some((action) => "ijkl".includes(action))) this.#left = this.#left.slice(1);
  }

  /** The prompt was changed, or the visitor wants no hints. */
  done() {
    this.#left = [];
  }
}
