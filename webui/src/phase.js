// The phases of a visit, from looking for the server to having lost it. `main.js` says which leads to which.

/**
 * @typedef {"loading" | "unreachable" | "ready" | "locked" | "connecting" | "waiting" | "full" | "starting" |
 *   "running" | "stalled" | "paused" | "returning" | "lost" | "over"} Phase
 */

/** What is said on the large button, as a word of `words.js`, and whether the page waits. @type {Record<Phase, { button: import("./words.js").Word, busy: boolean }>} */
export const PHASES = {
  loading: { button: "start", busy: true },
  unreachable: { button: "start", busy: true },
  ready: { button: "start", busy: false },
  locked: { button: "start", busy: false },
  connecting: { button: "stop", busy: true },
  waiting: { button: "leave_queue", busy: true },
  full: { button: "stop_asking", busy: true },
  starting: { button: "stop", busy: true },
  running: { button: "stop", busy: false },
  stalled: { button: "stop", busy: true },
  paused: { button: "stop", busy: false },
  returning: { button: "stop", busy: true },
  lost: { button: "start_again", busy: true },
  over: { button: "start_again", busy: false },
};

/** There is a connection, or the page tries to get one. The large button ends that. @type {readonly Phase[]} */
export const LIVE = ["connecting", "waiting", "full", "starting", "running", "stalled", "paused", "returning"];

/** There are pictures of the world, and it can be told things. @type {readonly Phase[]} */
export const WALKING = ["running", "stalled", "paused"];

/** The page looks for the server: there is nothing to press. @type {readonly Phase[]} */
export const LOOKING = ["loading", "unreachable", "lost"];
