// A visit: its phase, and the world that was found.

import { foundSentence } from "./ending.js";
import { sentence } from "./sentence.js";
import { health, world } from "./world.js";
import { say } from "./words.js";

/**
 * @typedef {{ entered: (phase: import("./phase.js").Phase, curtain: string, more?: string) => void,
 *   found: (card: import("./world.js").Card, gallery: import("./world.js").GalleryItem[]) => void,
 *   strange: (why: string) => void }} Told  `found`: a world that was not known before. `strange`: one that the page cannot use.
 */

/** Often enough for a person who waits for a model to load. */
const HEALTH_EVERY_MS = 1000;

const UNREADY = /** @type {const} */ ({ unreachable: "server_unreachable", closing: "server_closing", strange: "server_strange" });

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

  /** Wait until the server is there and its model loaded, then offer the world. */
  async findWorld() {
    await this.#untilReady((state) => {
      if (state === "loading") this.enter("loading", say("world_loading"));
      else this.enter("unreachable", say(UNREADY[state]));
    });
    await this.#offer("ready", say("server_back"));
  }

  /**
   * A walk ended, perhaps with its server: wait until that is there, and say so.
   * @param {string} why a sentence @param {boolean} opened a connection had been open
   */
  async lookFor(why, opened) {
    await this.#untilReady((state) => {
      this.enter("lost", `${why} ${say(state === "loading" ? "world_loading" : UNREADY[state])}`);
    });
    await this.#offer("over", foundSentence(why, opened));
  }

  /** @param {(state: Exclude<import("./world.js").Health, "ready">) => void} unready told at each look that finds it so */
  async #untilReady(unready) {
    for (;;) {
      const state = await health(this.#page);
      if (state === "ready") return;
      unready(state);
      await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS));
    }
  }

  /**
   * Offer the world that the server has now.
   * @param {import("./phase.js").Phase} phase @param {string} said if it is the one that is known: what was chosen still holds
   */
  async #offer(phase, said) {
    let found;
    try {
      found = await world(this.#page);
    } catch (error) {
      this.#told.strange(say("world_unusable", { why: sentence(error) }));
      return this.enter("unreachable", say("not_understood"));
    }
    if (JSON.stringify(found.card) === JSON.stringify(this.#card)) return this.enter(phase, said);
    this.#card = found.card;
    this.enter("ready", say("press_start"));
    this.#told.found(found.card, found.gallery);
  }
}
