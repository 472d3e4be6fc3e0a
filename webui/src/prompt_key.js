// What a key does that is pressed in the prompt.

import { LIVE, WALKING } from "./phase.js";

/** What browsers say of a key that went to an input method. */
const KEY_OF_INPUT_METHOD = 229;

/**
 * The key belongs to a composition, as Japanese, Chinese and Korean are written. Safari says that a composition is over
 * before it tells of the Enter that ended it: only the number still shows what that Enter was for.
 * @param {Pick<KeyboardEvent, "isComposing" | "keyCode">} event
 */
export const isComposing = ({ isComposing, keyCode }) => isComposing || keyCode === KEY_OF_INPUT_METHOD;

/**
 * @param {Pick<KeyboardEvent, "key" | "shiftKey" | "isComposing" | "keyCode">} event
 * @param {import("./phase.js").Phase} phase
 * @returns {"send" | "start" | "nothing" | "write"} `write`: the key is the field's own
 */
export function promptKey(event, phase) {
  if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return "write";
  if (WALKING.includes(phase)) return "send";
  // The large button would end the wait.
  return LIVE.includes(phase) ? "nothing" : "start";
}
