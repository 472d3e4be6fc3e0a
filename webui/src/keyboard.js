// The hands: keys of the keyboard, and the page's own keys under a finger or the mouse.

import { ACTION_BY_CODE } from "./controls.js";
import { element, isField } from "./element.js";

/** Shortcuts by place on the keyboard, like the keys that walk, and none of those. */
const PAUSE_CODE = "KeyP";

/**
 * @typedef {{ press: (action: string, holder: string) => void, release: (holder: string) => void,
 *   releaseAll: () => void, looked: () => void }} Actions  `looked`: the page was hidden, or is seen again.
 */

export class Keyboard {
  #actions;
  /** @type {NodeListOf<HTMLButtonElement>} */
  #keys = document.querySelectorAll(".key");
  /** What this world knows. @type {string[]} */
  #known = [];

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#listenToKeyboard();
    this.#keys.forEach((key) => this.#listenToKey(key));
  }

  /** @param {import("./world.js").Card} card */
  offer({ keys }) {
    this.#known = keys;
    this.#keys.forEach((key) => (key.hidden = !keys.includes(key.dataset.action ?? "")));
  }

  /** @param {string[]} held */
  held(held) {
    this.#keys.forEach((key) => {
      const isHeld = held.includes(key.dataset.action ?? "");
      key.classList.toggle("held", isHeld);
      key.setAttribute("aria-pressed", String(isHeld));
    });
  }

  #listenToKeyboard() {
    window.addEventListener("keydown", (event) => {
      // With a modifier it is the browser's shortcut, and its key-up may never be seen.
      if (event.ctrlKey || event.metaKey || event.altKey) return this.#actions.releaseAll();
      if (event.code === PAUSE_CODE && !event.repeat && !isField(event.target)) element("pause").click();
      const action = ACTION_BY_CODE[event.code];
      if (!action || isField(event.target) || !this.#known.includes(action)) return;
      event.preventDefault(); // arrows would scroll
      this.#actions.press(action, event.code);
    });
    window.addEventListener("keyup", (event) => this.#actions.release(event.code));
    // From here on key-ups go elsewhere.
    window.addEventListener("blur", () => this.#actions.releaseAll());
    window.addEventListener("pagehide", () => this.#actions.releaseAll());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#actions.releaseAll();
      this.#actions.looked();
    });
    document.addEventListener("focusin", (event) => {
      if (isField(event.target)) this.#actions.releaseAll();
    });
  }

  /** @param {HTMLButtonElement} key */
  #listenToKey(key) {
    const action = key.dataset.action ?? "";
    key.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      // Captured, so that a finger that slides off still ends what it began.
      key.setPointerCapture(event.pointerId);
      this.#actions.press(action, `pointer ${event.pointerId}`);
    });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
      key.addEventListener(end, (event) => this.#actions.release(`pointer ${event.pointerId}`));
    }
    key.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      this.#actions.press(action, event.code);
    });
    key.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}
