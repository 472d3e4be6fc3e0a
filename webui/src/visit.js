// A visit: its phase, and the world that was found.

import { health, world } from "./world.js";

/**
 * @typedef {{ entered: (phase: import("./phase.js").Phase, curtain: string, more?: string) => void,
 *   found: (card: import("./world.js").Card, gallery: import("./world.js").GalleryItem[]) => void }} Told
 *   `found`: a world that was not known before.
 */

/** Often enough for a person who waits for a model to load. */
const HEALTH_EVERY_MS = 1000;

const UNREADY = {
  unreachable: "The server does not answer. Trying again…",
  closing: "The server is closing down. Trying again…",
  strange: "Something else than Causeway answers at this address. Trying again…",
};

export class Visit {
  #page;
  #told;
  /** @type {import("./phase.js").Phase} */
  phase = "loading";
  /** @type {import("./world.js").Card | null} */
  #card = null;

  /** @param {string} page the page's own address @param {Told} told */
  constructor(page, told) {
    this.#page = page;
    this.#told = told;
  }

  /** The world. It is known from the first `ready` on. */
  get card() {
    if (!this.#card) throw new Error("a world is found before it is asked about");
    return this.#card;
  }

  /**
   * @param {import("./phase.js").Phase} next @param {string} curtain what to say over the picture
   * @param {string} [more] what the status says besides
   */
  enter(next, curtain, more) {
    this.phase = next;
    this.#told.entered(next, curtain, more);
  }

  /** Whether the server would take a walk now. */
  async isReady() {
    return (await health(this.#page)) === "ready";
  }

  /** Wait until the server is there and its model loaded, then offer the world. */
  async findWorld() {
    for (;;) {
      const state = await health(this.#page);
      if (state === "ready") break;
      if (state === "loading") this.enter("loading", "The server is loading its world…");
      else this.enter("unreachable", UNREADY[state]);
      await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS));
    }
    const { card, gallery } = await world(this.#page);
    // The same world is back: what the visitor has chosen still holds.
    if (JSON.stringify(card) === JSON.stringify(this.#card)) {
      return this.enter("ready", "The server is back. Press Start.");
    }
    this.#card = card;
    this.enter("ready", "Press Start, then hold W.");
    this.#told.found(card, gallery);
  }
}
