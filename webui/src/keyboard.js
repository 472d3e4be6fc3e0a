// The keys of the keyboard, wherever the focus is, but in a field that takes text.

import { BUTTON_BY_CODE } from "./bindings.js";
import { element, isField } from "./element.js";
import { LIVE } from "./phase.js";
import { isComposing } from "./prompt_key.js";

/**
 * @typedef {{ hold: (holder: string, actions: string[]) => void, releaseAll: () => void,
 *   looked: () => void }} Actions
 *   `looked`: the page was hidden, or is seen again.
 */

export class Keyboard {
  #bindings;
  #actions;
  /** @type {import("./phase.js").Phase} */
  #phase = "loading";
  /** What this world knows. @type {string[]} */
  #known = [];

  /** @param {() => import("./bindings.js").Bindings} bindings @param {Actions} actions */
  constructor(bindings, actions) {
    this.#bindings = bindings;
    this.#actions = actions;
    window.addEventListener("keydown", (event) => this.#down(event));
    window.addEventListener("keyup", (event) => actions.hold(event.code, []));
    // From here on key-ups go elsewhere.
    window.addEventListener("blur", () => actions.releaseAll());
    window.addEventListener("pagehide", () => actions.releaseAll());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) actions.releaseAll();
      actions.looked();
    });
    document.addEventListener("focusin", (event) => {
      if (isField(event.target)) actions.releaseAll();
    });
  }

  /** @param {import("./world.js").Card} card */
  offer({ keys }) {
    this.#known = keys;
  }

  /** @param {import("./phase.js").Phase} phase */
  phase(phase) {
    this.#phase = phase;
  }

  /** @param {KeyboardEvent} event */
  #down(event) {
    // With a modifier it is the browser's shortcut, and its key-up may never be seen.
    if (event.ctrlKey || event.metaKey || event.altKey) return this.#actions.releaseAll();
    if (isComposing(event)) return;
    const live = LIVE.includes(this.#phase);
    const action = this.#bindings()[event.code];
    const walks = action !== undefined && this.#known.includes(action);
    if (isField(event.target)) {
      // A list would take a letter for its choice. Its arrows stay its own.
      if (!(live && walks && event.code.startsWith("Key") && event.target instanceof HTMLSelectElement)) return;
      element("stage").focus({ preventScroll: true });
    }
    const onStage = event.target === document.body || event.target === element("stage");
    if ((event.key === " " || event.key === "Enter") && onStage) {
      event.preventDefault(); // the space bar would scroll
      // The button in the picture is there where a walk can begin.
      if (!event.repeat) element("go").click();
      return;
    }
    const button = event.key === "?" ? "help-button" : BUTTON_BY_CODE[event.code];
    if (button && !event.repeat) element(button).click();
    if (!walks) return;
    event.preventDefault(); // arrows would scroll
    this.#actions.hold(event.code, [action]);
  }
}
