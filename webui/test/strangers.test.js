import assert from "node:assert/strict";
import { test } from "node:test";

import { Incoming } from "../src/protocol.js";
import { encode } from "../src/msgpack.js";
import { withWord } from "../src/strangers.js";

test("a suggestion takes the place of the whole word alone, in any case", () => {
  assert.equal(withWord("A Dessert, dessert-like; desserts", "dessert", "desert"), "A desert, desert-like; desserts");
  assert.equal(withWord("eine wüst leere Wüst", "wüst", "wüste"), "eine wüste leere wüste");
});

test("what the server says of a prompt is read, with and without an event", () => {
  const read = (/** @type {object} */ message) => new Incoming().receive(encode({ type: "prompt_read", text: "a desert", ...message }));
  assert.deepEqual(read({ unknown: [{ word: "dessert", suggestion: "desert" }, { word: "dragon" }], instead: "a city" }), {
    kind: "read", eventId: null, unknown: [{ word: "dessert", suggestion: "desert" }, { word: "dragon", suggestion: null }], instead: "a city",
  });
  assert.deepEqual(read({ event_id: 7, unknown: [] }), { kind: "read", eventId: 7, unknown: [], instead: null });
});
