import assert from "node:assert/strict";
import { test } from "node:test";
import { drawInputs, lines } from "../src/inputs.js";

/** Ten characters fit. @param {string} line */
const fits = (line) => line.length <= 10;

test("a caption breaks at spaces, in Chinese anywhere, and marks what is left out", () => {
  assert.deepEqual(lines("a meadow", fits, 2), ["a meadow"]);
  assert.deepEqual(lines("a green meadow", fits, 2), ["a green", "meadow"]);
  assert.deepEqual(lines("a green meadow in the rain", fits, 2), ["a green", "meadow in…"]);
  assert.deepEqual(lines("一片绿色的草地在雨中静静等待", fits, 2), ["一片绿色的草地在雨中", "静静等待"]);
  assert.deepEqual(lines("", fits, 2), []);
});

test("the keys that are held are lit, the others are not", () => {
  /** @type {Record<string, string>} */
  const colours = {};
  let last = "";
  /** @type {any} */
  const context = new Proxy({ canvas: { width: 960, height: 640 } }, {
    get: (target, name) => (name in target ? /** @type {any} */ (target)[name]
      : name === "fillText" ? (/** @type {string} */ text) => (colours[text] = last)
      : name === "fill" ? () => (last = /** @type {any} */ (target).fillStyle)
      : () => ({ width: 1 })),
    set: (target, name, value) => Boolean((/** @type {any} */ (target)[name] = value)),
  });
  drawInputs(context, { held: ["w", "l"], rates: { forward: 0, strafe: 0, yaw: 0, pitch: 0 }, prompt: "" }, { prompt: true });
  const lit = Object.keys(colours).filter((text) => colours[text] === "#f0b35a");
  assert.deepEqual(lit.sort(), ["W", "→"]);
  assert.equal(Object.keys(colours).length, 8);
});
