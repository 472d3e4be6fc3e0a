// The phases of a visit, from looking for the server to having lost it. `main.js` says which leads to which.

/**
 * @typedef {"loading" | "unreachable" | "ready" | "locked" | "connecting" | "waiting" | "full" | "starting" |
 *   "running" | "stalled" | "paused" | "returning" | "lost" | "over"} Phase
 */

/** What is said of each, and on the large button. @type {Record<Phase, { status: string, button: string, busy: boolean }>} */
export const PHASES = {
  loading: { status: "World is loading", button: "Start", busy: true },
  unreachable: { status: "No server", button: "Start", busy: true },
  ready: { status: "Ready", button: "Start", busy: false },
  locked: { status: "Key wanted", button: "Start", busy: false },
  connecting: { status: "Connecting", button: "Stop", busy: true },
  waiting: { status: "Waiting", button: "Leave the queue", busy: true },
  full: { status: "No place", button: "Stop asking", busy: true },
  starting: { status: "Starting", button: "Stop", busy: true },
  running: { status: "Walking", button: "Stop", busy: false },
  stalled: { status: "No pictures", button: "Stop", busy: true },
  paused: { status: "Paused", button: "Stop", busy: false },
  returning: { status: "Reconnecting", button: "Stop", busy: true },
  lost: { status: "Disconnected", button: "Start again", busy: true },
  over: { status: "Walk over", button: "Start again", busy: false },
};

/** There is a connection, or the page tries to get one. The large button ends that. @type {readonly Phase[]} */
export const LIVE = ["connecting", "waiting", "full", "starting", "running", "stalled", "paused", "returning"];

/** There are pictures of the world, and it can be told things. @type {readonly Phase[]} */
export const WALKING = ["running", "stalled", "paused"];

/** The page looks for the server: there is nothing to press. @type {readonly Phase[]} */
export const LOOKING = ["loading", "unreachable", "lost"];
