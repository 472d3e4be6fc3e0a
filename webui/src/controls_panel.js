// The Controls panel: how the hands steer, and which key does what.

import { ACTIONS, codesOf, DEFAULT, isFree, keyLabel, rebound } from "./bindings.js";
import { element } from "./element.js";
import { say } from "./words.js";

/** @type {Record<string, import("./words.js").Word>} */
const NAMES = {
  w: "walk_forward", a: "walk_left", s: "walk_back", d: "walk_right", i: "look_up", j: "look_left", k: "look_down", l: "look_right",
};

export class ControlsPanel {
  #settings;
  /** @type {Pick<Map<string, string>, "get"> | null} the keyboard's own letters */
  #layout = null;
  /** The action that gets the next key. @type {string | null} */
  #asking = null;

  /** @param {import("./settings.js").Settings} settings */
  constructor(settings) {
    this.#settings = settings;
    for (const name of /** @type {const} */ (["sensitivity", "deadZone"])) {
      element(`set-${name}`).addEventListener("input", (/** @type {any} */ { target }) => settings.set({ [name]: Number(target.value) }));
    }
    for (const name of /** @type {const} */ (["invert", "overlay", "burn"])) {
      element(`set-${name}`).addEventListener("change", (/** @type {any} */ { target }) => settings.set({ [name]: target.checked }));
    }
    element("set-touch").addEventListener("change", (/** @type {any} */ { target }) => settings.set({ touch: target.value }));
    element("set-language").addEventListener("change", (/** @type {any} */ { target }) => {
      settings.set({ language: target.value === "" ? null : target.value });
      element("language-note").textContent = say("language_later");
    });
    element("set-keys-reset").addEventListener("click", () => settings.set({ bindings: DEFAULT }));
    // Before the keys walk or move the focus.
    window.addEventListener("keydown", (event) => this.#pressed(event), { capture: true });
    settings.listen(() => this.#show());
    // Only some browsers tell what is written on a key.
    const keyboard = /** @type {any} */ (navigator).keyboard;
    keyboard?.getLayoutMap?.().then((/** @type {Map<string, string>} */ layout) => {
      this.#layout = layout;
      this.#show();
    }, () => {});
  }

  /** One key of an action, as it is written: the arrow, which is the better picture of a look. @param {string} action */
  label(action) {
    const labels = this.labels(action);
    return labels.find((label) => "↑←↓→".includes(label)) ?? labels[0] ?? "·";
  }

  /** The keys of an action, as they are written. @param {string} action */
  labels(action) {
    return codesOf(this.#settings.values.bindings, action).map((code) => keyLabel(code, this.#layout));
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (this.#asking === null) return;
    const { code } = event;
    event.preventDefault();
    event.stopImmediatePropagation();
    const action = this.#asking;
    if (code !== "Escape" && !isFree(code)) {
      element("keys-note").textContent = say("key_taken", { key: keyLabel(code, this.#layout) });
      return;
    }
    this.#asking = null;
    element("keys-note").textContent = "";
    if (code !== "Escape") this.#settings.set({ bindings: rebound(this.#settings.values.bindings, action, code) });
    else this.#show();
    element(`set-key-${action}`).focus();
  }

  #show() {
    const { sensitivity, deadZone, invert, overlay, burn, touch, language } = this.#settings.values;
    element("set-sensitivity").value = String(sensitivity);
    element("set-deadZone").value = String(deadZone);
    element("set-invert").checked = invert;
    element("set-overlay").checked = overlay;
    element("set-burn").checked = burn;
    element("set-touch").value = touch;
    element("set-language").value = language ?? "";
    document.body.classList.toggle("sticks", touch === "sticks");
    element("set-keys").replaceChildren(...ACTIONS.map((action) => this.#row(action)));
    for (const key of document.querySelectorAll(/** @type {"button"} */ (".key"))) {
      const action = key.dataset.action ?? "";
      key.textContent = this.label(action);
      key.ariaLabel = `${say(NAMES[action])} (${this.labels(action).join(", ")})`;
    }
  }

  /** @param {string} action */
  #row(action) {
    const row = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.id = `set-key-${action}`;
    const labels = this.labels(action);
    button.textContent = this.#asking === action ? say("press_a_key") : labels.join(" ") || "–";
    button.ariaLabel = `${say(NAMES[action])}: ${button.textContent}`;
    button.addEventListener("click", () => {
      this.#asking = action;
      this.#show();
      element(`set-key-${action}`).focus();
    });
    row.append(say(NAMES[action]), button);
    return row;
  }
}
