// What a server's error or a closed connection means for the visit: what is said over the picture, and what the page does next.

import { closeSentence, errorSentence } from "./protocol.js";
import { say } from "./words.js";

/**
 * @typedef {"again" | "wait" | "key" | "look" | "fix"} Next
 *   `again`: the visitor may start again. `wait`: there is no place, and the page asks again by itself. `key`: the server wants a
 *   key. `look`: the server may be gone, so the page looks for it. `fix`: the visitor has to change what was filled in.
 * @typedef {{ said: string, next: Next }} Ending
 */

/** The close code that a browser reports for a line that ended without a close frame. */
export const LINE_LOST = 1006;

/** Why there is no place, by the error's code. @type {Record<string, import("./words.js").Word>} */
const NO_PLACE = {
  session_busy: "no_place_sessions",
  memory_busy: "no_place_memory",
  device_busy: "no_place_device",
  queue_full: "no_place_queue",
  viewers_full: "no_place_viewers",
};

/**
 * An error that no picture will follow.
 * @param {import("./protocol.js").ServerError} error @param {boolean} comingBack it answers a request to resume a walk
 * @returns {Ending}
 */
export function refused(error, comingBack) {
  const code = error.code ?? "";
  if (code in NO_PLACE) return { said: say(NO_PLACE[code]), next: "wait" };
  if (code === "unauthorized") return { said: keySentence(error.content), next: "key" };
  if (comingBack) return { said: code === "invalid_resume_request" ? say("walk_unknown") : errorSentence(error), next: "again" };
  return { said: errorSentence(error), next: "fix" };
}

/** Errors in a walk after which the server closes the connection. */
const LAST = ["resumed_elsewhere", "generation_error"];

/**
 * An error in the middle of a walk, if it is the walk's last word; null: the walk goes on.
 * @param {import("./protocol.js").ServerError} error
 * @returns {Ending | null}
 */
export const lastWord = (error) => (LAST.includes(error.code ?? "") ? { said: errorSentence(error), next: "again" } : null);

/**
 * The connection is closed, and cannot be taken up again.
 * @param {number} code @param {string} reason @param {boolean} opened it had been open @param {boolean} walked there was a picture
 * @returns {Ending}
 */
export function closed(code, reason, opened, walked) {
  if (code === LINE_LOST) return { said: walked ? say("cut") : opened ? closeSentence(code, reason) : say("not_opened"), next: "look" };
  const isOver = code === 1000 || code === 1008;
  return { said: closeSentence(code, reason), next: isOver ? "again" : "look" };
}

/**
 * The server is there after all, and what was said before.
 * @param {string} said @param {boolean} opened a connection had been open
 */
export const foundSentence = (said, opened) =>
  opened
    ? say("found_again", { said })
    : say("no_websocket");

/** @param {string} content the server's words, which are for developers */
function keySentence(content) {
  if (content.startsWith("a key is needed")) return say("key_wanted");
  return `${content.charAt(0).toUpperCase()}${content.slice(1)}.`;
}
