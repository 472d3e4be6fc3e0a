import assert from "node:assert/strict";
import { test } from "node:test";
import { Hints } from "../src/hint.js";

test("a hint stays until it was followed", () => {
  const hints = new Hints();
  hints.begin(false, [..."wasdijkl"]);
  hints.held([]);
  hints.held(["l"]);
  assert.equal(hints.now, "walk");
  hints.held(["w"]);
  assert.equal(hints.now, "look");
  hints.held(["w"]);
  assert.equal(hints.now, "look");
  hints.held(["j", "w"]);
  assert.equal(hints.now, "prompt");
  hints.done();
  assert.equal(hints.now, null);
});

test("who knows the page gets no hint, and a world without keys none about keys", () => {
  const hints = new Hints();
  hints.begin(true, [..."wasdijkl"]);
  assert.equal(hints.now, null);
  hints.begin(false, []);
  assert.equal(hints.now, "prompt");
});
