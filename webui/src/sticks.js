// Two sticks under the thumbs, in place of the page's keys: the left one walks, the right one looks.

import { pushed } from "./stick.js";

/** @typedef {import("./hands.js").Rates} Rates */

/** A thumb that lies still trembles within this part of the stick. */
const DEAD_ZONE = 0.12;
const STILL = { forward: 0, strafe: 0, yaw: 0, pitch: 0 };

export class Sticks {
  /** @param {(stick: string, rates: Rates | null) => void} want */
  constructor(want) {
    for (const stick of document.querySelectorAll(/** @type {"div"} */ (".stick"))) this.#listen(stick, want);
  }

  /** @param {HTMLElement} stick @param {(stick: string, rates: Rates | null) => void} want */
  #listen(stick, want) {
    const looks = stick.dataset.stick === "look";
    const push = (/** @type {number} */ x, /** @type {number} */ y) => {
      const [right, down] = pushed(x, y, DEAD_ZONE);
      stick.style.setProperty("--x", String(right));
      stick.style.setProperty("--y", String(down));
      const rates = looks ? { ...STILL, yaw: right, pitch: 0 - down } : { ...STILL, strafe: right, forward: 0 - down };
      want(`thumb ${stick.dataset.stick}`, rates);
    };
    const follow = (/** @type {PointerEvent} */ { clientX, clientY }) => {
      const { left, top, width, height } = stick.getBoundingClientRect();
      push((clientX - left - width / 2) / (width / 2), (clientY - top - height / 2) / (height / 2));
    };
    stick.addEventListener("pointerdown", (event) => {
      stick.setPointerCapture(event.pointerId);
      follow(event);
    });
    stick.addEventListener("pointermove", (event) => {
      if (stick.hasPointerCapture(event.pointerId)) follow(event);
    });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
      stick.addEventListener(end, () => {
        push(0, 0);
        want(`thumb ${stick.dataset.stick}`, null);
      });
    }
    stick.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}
