import assert from "node:assert/strict";
import { test } from "node:test";
import { heldAt, steps } from "../src/script.js";

test("a script is the keys of each step", () => {
  assert.deepEqual(steps("w*2,wl, - ,k"), [["w"], ["w"], ["w", "l"], [], ["k"]]);
  assert.deepEqual(steps(" "), []);
});

test("what is no script is told", () => {
  for (const bad of ["w*", "*3", "w**2", "W", "w;l", "w*-1", ",", "w*1.5"]) assert.throws(() => steps(bad), /not a step/, bad);
  assert.throws(() => steps("w*99999999999"), /at most 4096/);
});

test("the first picture is a step of its own, each later one of four pictures", () => {
  const script = steps("-,w,l");
  assert.deepEqual([0, 1, 4, 5, 8, 9].map((shown) => heldAt(script, shown).join("")), ["", "w", "w", "l", "l", ""]);
});
