// The phases of a visit, from looking for the server to having lost it. `main.js` says which leads to which.

/**
 * @typedef {"loading" | "unreachable" | "ready" | "connecting" | "waiting" | "starting" | "running" | "paused" | "returning" | "lost"} Phase
 */

/** What is said of each, and on the large button. @type {Record<Phase, { status: string, button: string, busy: boolean }>} */
export const PHASES = {
  loading: { status: "World is loading", button: "Start", busy: true },
  unreachable: { status: "No server", button: "Start", busy: true },
  ready: { status: "Ready", button: "Start", busy: false },
  connecting: { status: "Connecting", button: "Stop", busy: true },
  waiting: { status: "Waiting", button: "Stop", busy: true },
  starting: { status: "Starting", button: "Stop", busy: true },
  running: { status: "Walking", button: "Stop", busy: false },
  paused: { status: "Paused", button: "Stop", busy: false },
  returning: { status: "Reconnecting", button: "Stop", busy: true },
  lost: { status: "Disconnected", button: "Reconnect", busy: false },
};

/** There is a connection, or soon will be. @type {readonly Phase[]} */
export const LIVE = ["connecting", "waiting", "starting", "running", "paused", "returning"];

/** There are pictures of the world, and it can be told things. @type {readonly Phase[]} */
export const WALKING = ["running", "paused"];
