// Which key does what: by its place on the keyboard and not by its letter. WASD is a shape, also on AZERTY.

/** @typedef {Readonly<Record<string, string>>} Bindings  The action of each key, by the key's code. */

/** @type {Bindings} */
export const DEFAULT = Object.freeze({
  KeyW: "w", KeyA: "a", KeyS: "s", KeyD: "d",
  KeyI: "i", KeyJ: "j", KeyK: "k", KeyL: "l",
  ArrowUp: "i", ArrowLeft: "j", ArrowDown: "k", ArrowRight: "l",
});

/** In the order in which a person is asked. */
export const ACTIONS = ["w", "a", "s", "d", "i", "j", "k", "l"];

/** Buttons of the page with a key of their own. @type {Readonly<Record<string, string>>} */
export const BUTTON_BY_CODE = { KeyP: "pause", KeyF: "fullscreen", KeyH: "hud-button", KeyC: "snapshot", KeyO: "set-overlay", KeyB: "back" };

/** Keys that go elsewhere: they start, leave, move the focus, or change another key. */
const TAKEN = /^(Enter|NumpadEnter|Space|Tab|Escape|Slash|F\d+|(Shift|Control|Alt|Meta|OS)(Left|Right)|CapsLock|NumLock|ContextMenu|)$/;

/** Whether a key may walk. @param {string} code */
export const isFree = (code) => !TAKEN.test(code) && !(code in BUTTON_BY_CODE);

/**
 * An action gets this key and no other; whatever had the key before loses it.
 * @param {Bindings} bindings @param {string} action @param {string} code one that is free
 * @returns {Bindings}
 */
export const rebound = (bindings, action, code) =>
  ({ ...Object.fromEntries(Object.entries(bindings).filter(([key, does]) => key !== code && does !== action)), [code]: action });

/** The keys of an action. @param {Bindings} bindings @param {string} action */
export const codesOf = (bindings, action) => Object.keys(bindings).filter((code) => bindings[code] === action);

/** @type {Record<string, string>} */
const ARROWS = { ArrowUp: "↑", ArrowLeft: "←", ArrowDown: "↓", ArrowRight: "→" };

/**
 * What is written on a key, as far as anybody knows.
 * @param {string} code @param {Pick<Map<string, string>, "get"> | null} layout the keyboard's own, where a browser tells it
 */
export const keyLabel = (code, layout) =>
  ARROWS[code] ?? (layout?.get(code) ?? code.replace(/^(Key|Digit)/, "").replace(/^Numpad/, "Num ")).toUpperCase();
