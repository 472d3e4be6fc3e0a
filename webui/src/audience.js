// Who watches: the player's button that lets others in, with their number, and what a viewer is told of the player.

import { element } from "./element.js";
import { shareEvent } from "./protocol.js";
import { watchLink, watchToken } from "./share.js";
import { say } from "./words.js";

/** A message that nobody has to answer goes by itself. */
const TOLD_MS = 5000;

export class Audience {
  #page;
  /** The link that viewers of this walk use. @type {string | null} */
  #link = null;
  #untold = 0;
  /** What this page watches; null: it is a player's. @type {string | null} */
  token;

  /** @param {string} page the page's own address */
  constructor(page) {
    this.#page = page;
    this.token = watchToken(new URL(page).hash);
    document.body.classList.toggle("watches", this.token !== null);
    element("watch").hidden = this.token !== null;
    element("watching").hidden = this.token === null;
  }

  /** A walk begins: nobody watches it. */
  begin() {
    this.#link = null;
    this.#count(0);
    element("watch").disabled = true;
  }

  /** The server is one of ours. */
  possible() {
    element("watch").disabled = false;
  }

  /** The walk has ended. */
  end() {
    this.begin();
    this.#stage("");
  }

  /** The player lets others watch. @param {(event: object) => void} send */
  press(send) {
    if (this.#link === null) send(shareEvent("view"));
    else this.#copy(this.#link);
  }

  /** @param {import("./protocol.js").Shared} shared */
  shared({ token }) {
    this.#link = watchLink(this.#page, token);
    this.#copy(this.#link);
  }

  /** @param {import("./protocol.js").Viewers} viewers */
  viewers({ count }) {
    this.#count(count);
  }

  /** To a viewer. @param {import("./protocol.js").Stage} stage */
  stage({ here, paused }) {
    this.#stage(here ? (paused ? say("player_paused") : "") : say("player_away"));
  }

  /** @param {string} sentence */
  #stage(sentence) {
    element("watching-text").textContent = sentence || say("you_watch");
  }

  /** @param {number} count */
  #count(count) {
    element("watch-count").textContent = count > 0 ? String(count) : "";
    element("watch").title = count > 0 ? say("watched_title", { count }) : say("watch_title");
  }

  /** @param {string} link */
  async #copy(link) {
    try {
      await navigator.clipboard.writeText(link);
      this.#tell(say("watch_copied"));
    } catch {
      // A page without https has no clipboard. The link stays on the screen long enough to be copied by hand.
      this.#tell(say("watch_link", { link }), 6 * TOLD_MS);
    }
  }

  /** @param {string} sentence @param {number} [forMs] */
  #tell(sentence, forMs = TOLD_MS) {
    element("told").textContent = sentence;
    clearTimeout(this.#untold);
    this.#untold = setTimeout(() => (element("told").textContent = ""), forMs);
  }
}
