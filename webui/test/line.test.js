import assert from "node:assert/strict";
import { test } from "node:test";

import { Line } from "../src/line.js";
import { decode, encode } from "../src/msgpack.js";

/** A socket that a test opens, fills and closes. */
class Socket {
  static OPEN = 1;
  /** @type {Socket[]} */
  static all = [];
  readyState = 1;
  bufferedAmount = 0;
  /** @type {any[]} */
  sent = [];

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    Socket.all.push(this);
  }

  /** @param {Uint8Array} bytes */
  send(bytes) {
    this.sent.push(decode(bytes));
  }

  close() {}

  /** @param {object} message */
  hear(message) {
    /** @type {any} */ (this).onmessage({ data: encode(message) });
  }
}

const hello = { type: "session", session_id: "s", resume_token: "t", grace_ms: 30_000, next_chunk: 0 };

/** @param {object} moved what the server says before it closes @returns {Promise<{ over: number[], next: any }>} */
async function after(moved) {
  Object.assign(globalThis, { WebSocket: Socket });
  Socket.all = [];
  /** @type {number[]} */
  const over = [];
  const nothing = () => {};
  const listener = { opened: nothing, received: nothing, lost: nothing, back: nothing, over: (/** @type {number} */ code) => over.push(code) };
  const line = new Line("ws://a/v1/realtime_video", { type: "init" }, null, listener);
  const first = /** @type {any} */ (Socket.all[0]);
  first.onopen();
  first.hear(hello);
  if (moved) first.hear(moved);
  first.onclose({ code: 1012, reason: "server is shutting down" });
  await new Promise((resolve) => setTimeout(resolve, 10));
  const next = Socket.all[1];
  /** @type {any} */ (next)?.onopen();
  const kept = { over, next };
  line.close();
  return kept;
}

test("a session that moved is resumed at once at the address that the server named, or at the known one", async () => {
  for (const [url, expected] of [["ws://b/v1/realtime_video", "ws://b/v1/realtime_video"], [undefined, "ws://a/v1/realtime_video"]]) {
    const { over, next } = await after({ type: "moved", messages: 3, ...(url && { url }) });
    assert.deepEqual(over, []);
    assert.equal(next.url, expected);
    assert.equal(next.sent[0].type, "resume");
    assert.equal(next.sent[0].token, "t");
  }
});

test("a server that stops and moves nothing ends the session", async () => {
  const { over, next } = await after(/** @type {any} */ (null));
  assert.deepEqual([over, next], [[1012], undefined]);
});
