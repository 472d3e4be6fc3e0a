// What a visitor has set, kept in the browser for the next visit.

import { DEFAULT, isFree } from "./bindings.js";
import { isShared } from "./share.js";

/**
 * @typedef {{ sensitivity: number, invert: boolean, touch: "keys" | "sticks", deadZone: number,
 *   bindings: import("./bindings.js").Bindings, hud: boolean, overlay: boolean, burn: boolean, hinted: boolean,
 *   look: "smooth" | "sharp" | "crisp" | null, language: "en" | "zh" | null, prompts: string[],
 *   last: import("./share.js").Shared | null }} Values
 *   `look` and `language`: null where the page chooses. `overlay`: keys shown on the picture. `burn`: keys and prompt in films.
 *   `hinted`: the hints of a first walk were followed.
 *   `prompts`: the last ones, newest first. `last`: how the last walk began.
 */

export const SENSITIVITY = { min: 0.2, max: 5 };
export const DEAD_ZONE = { min: 0, max: 0.6 };
const PROMPTS_MAX = 10;
/** A prompt that is longer is not kept: the last ones are a list of lines. */
const PROMPT_CHARACTERS_MAX = 500;
const NAME = "causeway-settings";

/** @type {Values} */
const DEFAULTS = {
  sensitivity: 1, invert: false, touch: "keys", deadZone: 0.15, bindings: DEFAULT,
  hud: false, overlay: false, burn: false, hinted: false, look: null, language: null, prompts: [], last: null,
};

/**
 * What was kept, as far as it can be used: another version of the page may have written it.
 * @param {string | null} text @returns {Values}
 */
export function read(text) {
  /** @type {any} */
  let kept = null;
  try {
    kept = JSON.parse(text ?? "null");
  } catch {
    // not ours
  }
  if (typeof kept !== "object" || kept === null) return DEFAULTS;
  const flag = (/** @type {"invert" | "hud" | "overlay" | "burn" | "hinted"} */ name) => (typeof kept[name] === "boolean" ? kept[name] : DEFAULTS[name]);
  const number = (/** @type {"sensitivity" | "deadZone"} */ name, /** @type {{ min: number, max: number }} */ { min, max }) =>
    (typeof kept[name] === "number" && kept[name] >= min && kept[name] <= max ? kept[name] : DEFAULTS[name]);
  const one = (/** @type {string} */ name, /** @type {string[]} */ of, /** @type {any} */ otherwise) =>
    (of.includes(kept[name]) ? kept[name] : otherwise);
  return {
    sensitivity: number("sensitivity", SENSITIVITY),
    invert: flag("invert"),
    touch: one("touch", ["keys", "sticks"], DEFAULTS.touch),
    deadZone: number("deadZone", DEAD_ZONE),
    bindings: readBindings(kept.bindings),
    hud: flag("hud"),
    overlay: flag("overlay"),
    burn: flag("burn"),
    hinted: flag("hinted"),
    look: one("look", ["smooth", "sharp", "crisp"], null),
    language: one("language", ["en", "zh"], null),
    prompts: Array.isArray(kept.prompts) ? kept.prompts.filter(isPrompt).slice(0, PROMPTS_MAX) : [],
    last: isShared(kept.last) ? kept.last : null,
  };
}

/** @param {any} kept @returns {import("./bindings.js").Bindings} */
function readBindings(kept) {
  if (typeof kept !== "object" || kept === null) return DEFAULT;
  const actions = Object.values(DEFAULT);
  const good = Object.entries(kept).every(([code, action]) => isFree(code) && actions.includes(/** @type {string} */ (action)));
  return good ? kept : DEFAULT;
}

/** @param {unknown} prompt */
const isPrompt = (prompt) => typeof prompt === "string" && prompt !== "" && prompt.length <= PROMPT_CHARACTERS_MAX;

/** The last prompts after one more was used. @param {string[]} prompts @param {string} prompt */
export const withPrompt = (prompts, prompt) =>
  (isPrompt(prompt) ? [prompt, ...prompts.filter((other) => other !== prompt)].slice(0, PROMPTS_MAX) : prompts);

export class Settings {
  #storage;
  #values;
  /** @type {((values: Values) => void)[]} */
  #listeners = [];

  /** @param {Pick<Storage, "getItem" | "setItem"> | null} storage null where a browser gives none */
  constructor(storage) {
    this.#storage = storage;
    this.#values = read(storage?.getItem(NAME) ?? null);
  }

  get values() {
    return this.#values;
  }

  /** @param {Partial<Values>} changes */
  set(changes) {
    this.#values = { ...this.#values, ...changes };
    try {
      this.#storage?.setItem(NAME, JSON.stringify(this.#values));
    } catch {
      // A browser that keeps nothing (a private window, a full disk) keeps no settings either: they hold for this visit.
    }
    this.#listeners.forEach((listener) => listener(this.#values));
  }

  /** Called now, and with every change. @param {(values: Values) => void} listener */
  listen(listener) {
    this.#listeners.push(listener);
    listener(this.#values);
  }
}

/** The browser's storage, null where it gives none. */
export function storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
