// The world on the whole screen; where a browser gives no screen (an iPhone), in the whole window.

import { element } from "./element.js";

/** Below this height a picture with its keys under it would be a stamp: the keys go over it. */
const SHORT = matchMedia("(max-height: 480px)");

export class Full {
  #full = false;

  constructor() {
    element("fullscreen").addEventListener("click", () => this.toggle());
    document.addEventListener("fullscreenchange", () => this.#set(document.fullscreenElement !== null));
    SHORT.addEventListener("change", () => this.#lay());
    // Where the browser gave the screen, it takes the Escape itself.
    window.addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && this.#full && !document.fullscreenElement) this.#set(false);
    });
    this.#lay();
  }

  toggle() {
    if (this.#full) {
      if (document.fullscreenElement) document.exitFullscreen();
      else this.#set(false);
    } else if (document.fullscreenEnabled) {
      element("world").requestFullscreen().catch(() => this.#set(true));
    } else {
      this.#set(true);
    }
  }

  /** @param {boolean} full */
  #set(full) {
    this.#full = full;
    element("fullscreen").setAttribute("aria-pressed", String(full));
    this.#lay();
  }

  #lay() {
    document.body.classList.toggle("full", this.#full);
    document.body.classList.toggle("over", this.#full || SHORT.matches);
  }
}
