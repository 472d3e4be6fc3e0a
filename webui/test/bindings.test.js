import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTIONS, codesOf, DEFAULT, isFree, keyLabel, rebound } from "../src/bindings.js";

test("keys that walk are places on the keyboard, and each action has one", () => {
  assert.equal(DEFAULT.KeyW, "w");
  assert.equal(DEFAULT.ArrowLeft, "j");
  assert.deepEqual(ACTIONS.filter((action) => codesOf(DEFAULT, action).length === 0), []);
});

test("an action that gets a key has that key alone, and takes it from another action", () => {
  const bindings = rebound(DEFAULT, "i", "KeyW");
  assert.deepEqual(codesOf(bindings, "i"), ["KeyW"]);
  assert.deepEqual(codesOf(bindings, "w"), []);
  assert.deepEqual(codesOf(bindings, "k"), ["KeyK", "ArrowDown"]);
});

test("keys that start, pause, move the focus or change other keys cannot walk", () => {
  for (const code of ["Enter", "Space", "Tab", "Escape", "ShiftLeft", "F5", "KeyP", "KeyH", ""]) assert.equal(isFree(code), false, code);
  for (const code of ["KeyQ", "Numpad8", "Comma", "Digit1", "ArrowUp"]) assert.equal(isFree(code), true, code);
});

test("a key is called what is written on it", () => {
  assert.equal(keyLabel("KeyW", null), "W");
  assert.equal(keyLabel("KeyW", new Map([["KeyW", "z"]])), "Z");
  assert.equal(keyLabel("ArrowUp", null), "↑");
  assert.equal(keyLabel("Numpad8", null), "NUM 8");
});
