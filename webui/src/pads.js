// The page's own keys, under a finger or the mouse.

import { under } from "./pad_grid.js";

/**
 * @typedef {{ hold: (holder: string, actions: string[]) => void }} Actions  All that a holder holds from now on.
 */

export class Pads {
  #actions;
  /** @type {HTMLButtonElement[]} */
  #keys = [...document.querySelectorAll(/** @type {"button"} */ (".key"))];

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    document.querySelectorAll(/** @type {"div"} */ (".cluster")).forEach((cluster) => this.#listen(cluster));
  }

  /** @param {import("./world.js").Card} card */
  offer({ keys }) {
    this.#keys.forEach((key) => (key.hidden = !keys.includes(key.dataset.action ?? "")));
  }

  /** @param {string[]} held */
  held(held) {
    for (const key of this.#keys) {
      const isHeld = held.includes(key.dataset.action ?? "");
      key.classList.toggle("held", isHeld);
      key.setAttribute("aria-pressed", String(isHeld));
    }
  }

  /** @param {HTMLElement} cluster */
  #listen(cluster) {
    const touch = (/** @type {PointerEvent} */ event) => {
      const keys = this.#keys.filter((key) => cluster.contains(key) && !key.hidden).map((key) => {
        const { left, top, right, bottom } = key.getBoundingClientRect();
        return { action: key.dataset.action ?? "", left, top, right, bottom };
      });
      this.#actions.hold(`pointer ${event.pointerId}`, under(keys, event.clientX, event.clientY));
    };
    cluster.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      // Captured, so that a finger may slide from key to key, and one that slides off still ends what it began.
      cluster.setPointerCapture(event.pointerId);
      touch(event);
    });
    cluster.addEventListener("pointermove", (event) => {
      if (cluster.hasPointerCapture(event.pointerId)) touch(event);
    });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
      cluster.addEventListener(end, (event) => this.#actions.hold(`pointer ${event.pointerId}`, []));
    }
    cluster.addEventListener("keydown", (event) => {
      const action = event.target instanceof HTMLElement && event.target.dataset.action;
      if (!action || (event.key !== " " && event.key !== "Enter")) return;
      event.preventDefault();
      this.#actions.hold(event.code, [action]);
    });
    cluster.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}
