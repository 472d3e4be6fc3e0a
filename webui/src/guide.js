// What tells a visitor how to steer: the help, and the hints over the first walk.

import { element } from "./element.js";
import { Hints } from "./hint.js";
import { say } from "./words.js";

/** Not everybody wants another prompt. */
const LAST_HINT_MS = 8000;

export class Guide {
  #settings;
  #labels;
  #hints = new Hints();

  /**
   * @param {import("./settings.js").Settings} settings
   * @param {(action: string) => string[]} labels what is written on the keys of an action
   */
  constructor(settings, labels) {
    this.#settings = settings;
    this.#labels = labels;
    element("help-button").addEventListener("click", () => {
      for (const [id, actions] of [["help-walk", "wasd"], ["help-look", "ijkl"]]) {
        element(id).replaceChildren(...[...actions].flatMap(labels).map(kbd));
      }
      element("help").showModal();
    });
    // The key that opened it closes it, too.
    element("help").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      event.stopPropagation();
      if (event.key === "?") element("help").close();
    });
    element("help").addEventListener("close", () => element("stage").focus({ preventScroll: true }));
  }

  /** A walk has its first picture. @param {import("./world.js").Card} card */
  begin({ keys }) {
    this.#hints.begin(this.#settings.values.hinted, keys);
    this.#show();
  }

  /** @param {readonly string[]} held */
  held(held) {
    const before = this.#hints.now;
    this.#hints.held(held);
    if (this.#hints.now !== before) this.#show();
  }

  /** The prompt was changed, or that can be done has been said for long enough. */
  prompted() {
    if (this.#hints.now !== "prompt") return;
    this.#hints.done();
    this.#settings.set({ hinted: true });
    this.#show();
  }

  /** The walk is over. */
  end() {
    this.#hints.done();
    this.#show();
  }

  #show() {
    const hint = this.#hints.now;
    element("hint").hidden = hint === null;
    if (hint === "walk") element("hint").textContent = say("hint_walk", { key: this.#labels("w")[0] ?? "–" });
    else if (hint === "look") element("hint").textContent = say("hint_look", { keys: [..."ijkl"].map((action) => this.#labels(action).at(-1)).join(" ") });
    else if (hint === "prompt") {
      element("hint").textContent = say("hint_prompt");
      setTimeout(() => this.prompted(), LAST_HINT_MS);
    }
  }
}

/** @param {string} label */
function kbd(label) {
  const key = document.createElement("kbd");
  key.textContent = label;
  return key;
}
