import assert from "node:assert/strict";
import { test } from "node:test";
import { under } from "../src/pad_grid.js";

/** Keys of 50 pixels with gaps of 6: W above S, A and D beside S. */
const at = (/** @type {string} */ action, /** @type {number} */ left, /** @type {number} */ top) =>
  ({ action, left, top, right: left + 50, bottom: top + 50 });
const CROSS = [at("w", 56, 0), at("a", 0, 56), at("s", 56, 56), at("d", 112, 56)];

/** @param {number} x @param {number} y @param {string} expected */
const check = (x, y, expected) => assert.equal(under(CROSS, x, y).sort().join(""), expected, `${x}, ${y}`);

test("a finger on a key holds that key", () => {
  check(80, 20, "w");
  check(20, 80, "a");
  check(106, 100, "s");
  check(161, 57, "d");
});

test("between two keys that meet at a corner both are held", () => {
  check(30, 30, "aw");
  check(135, 28, "dw");
});

test("between two keys that face each other one is held", () => {
  check(80, 53, "w");
  check(53, 80, "a");
});

test("a finger that slid off holds the nearest key", () => {
  check(80, -90, "w");
  check(300, 80, "d");
});

test("a world without keys holds nothing", () => assert.deepEqual(under([], 1, 1), []));
