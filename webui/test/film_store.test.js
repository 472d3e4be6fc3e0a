import assert from "node:assert/strict";
import { test } from "node:test";
import { isLeft, LEFT_AFTER_MS } from "../src/film_store.js";

test("a film is left when nobody has recorded it for a while, also by a clock that was set back", () => {
  const film = { seenAt: 1_000_000 };
  assert.equal(isLeft(film, 1_000_000), false);
  assert.equal(isLeft(film, 1_000_000 + LEFT_AFTER_MS - 1), false);
  assert.equal(isLeft(film, 1_000_000 + LEFT_AFTER_MS), true);
  assert.equal(isLeft(film, 1_000_000 - LEFT_AFTER_MS), true);
});
