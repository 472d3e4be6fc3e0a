import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT } from "../src/bindings.js";
import { read, Settings, withPrompt } from "../src/settings.js";

/** @returns {any} */
function storage() {
  const kept = new Map();
  return { getItem: (/** @type {string} */ name) => kept.get(name) ?? null, setItem: (/** @type {string} */ name, /** @type {string} */ text) => kept.set(name, text) };
}

test("what was set is there at the next visit", () => {
  const kept = storage();
  new Settings(kept).set({ sensitivity: 2, invert: true, bindings: { KeyQ: "w" }, prompts: ["a meadow"] });
  const { values } = new Settings(kept);
  assert.deepEqual([values.sensitivity, values.invert, values.bindings, values.prompts], [2, true, { KeyQ: "w" }, ["a meadow"]]);
});

test("what cannot be used is as if it had never been set", () => {
  const fresh = read(null);
  for (const text of ["", "{", "null", "7", "[]", '{"sensitivity":99,"deadZone":"x","touch":"feet","hud":1,"look":"x","prompts":3}']) {
    assert.deepEqual(read(text), fresh, text);
  }
  assert.deepEqual(read('{"bindings":{"KeyQ":"fly"}}').bindings, DEFAULT);
  assert.deepEqual(read('{"bindings":{"Escape":"w"}}').bindings, DEFAULT);
});

test("a browser that keeps nothing has settings for this visit", () => {
  const full = { getItem: () => null, setItem: () => { throw new Error("full"); } };
  const settings = new Settings(full);
  settings.set({ hud: true });
  assert.equal(settings.values.hud, true);
  assert.equal(new Settings(null).values.hud, false);
});

test("who listens is told now and with every change", () => {
  const settings = new Settings(null);
  /** @type {boolean[]} */
  const told = [];
  settings.listen(({ hud }) => told.push(hud));
  settings.set({ hud: true });
  assert.deepEqual(told, [false, true]);
});

test("the last ten prompts are kept, each once, the newest first", () => {
  let prompts = withPrompt(["a", "b"], "b");
  assert.deepEqual(prompts, ["b", "a"]);
  for (let i = 0; i < 20; i++) prompts = withPrompt(prompts, `p${i}`);
  assert.deepEqual([prompts.length, prompts[0]], [10, "p19"]);
  assert.deepEqual(withPrompt(["a"], ""), ["a"]);
});
