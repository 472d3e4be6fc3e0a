import assert from "node:assert/strict";
import { test } from "node:test";
import { Gamepads, padRates } from "../src/gamepad.js";
import { pushed } from "../src/stick.js";

/** @param {number[]} axes @param {number[]} [down] @returns {any} */
const pad = (axes, down = [], mapping = "standard") => ({
  index: 0, connected: true, mapping, axes, buttons: Array.from({ length: 17 }, (_, i) => ({ pressed: down.includes(i) })),
});

test("a stick within its dead zone rests, and begins softly past it", () => {
  assert.deepEqual(pushed(0.1, -0.08, 0.15), [0, 0]);
  assert.deepEqual(pushed(1, 0, 0.15), [1, 0]);
  const [x, y] = pushed(0.16, 0, 0.15);
  assert.ok(x > 0 && x < 0.02 && y === 0, `${x}`);
});

test("a stick in a corner is pushed no further than at its end", () => {
  const [x, y] = pushed(1, 1, 0.15);
  assert.ok(Math.abs(Math.hypot(x, y) - 1) < 1e-9);
});

test("a stick that reports no number rests", () => assert.deepEqual(pushed(NaN, 0, 0.15), [0, 0]));

test("the left stick walks and the right one looks", () => {
  assert.deepEqual(padRates(pad([0, -1, 1, 0]), 0.15), { forward: 1, strafe: 0, yaw: 1, pitch: 0 });
  assert.deepEqual(padRates(pad([-1, 0, 0, 1]), 0.15), { forward: 0, strafe: -1, yaw: 0, pitch: -1 });
});

test("the cross of keys walks, on a pad that the browser knows", () => {
  assert.equal(padRates(pad([0, 0, 0, 0], [12]), 0.15).forward, 1);
  assert.equal(padRates(pad([0, 0, 0, 0], [13, 14]), 0.15).strafe, -1);
  assert.equal(padRates(pad([0, 0, 0, 0], [12], ""), 0.15).forward, 0);
});

test("a button is one command for each press, and none for one that was down when the pad came", () => {
  /** @type {string[]} */
  const commands = [];
  /** @type {any[]} */
  let pads = [pad([0, 0, 0, 0], [9])];
  const all = new Gamepads(() => pads, { want: () => {}, command: (command) => commands.push(command) });
  all.poll(0.15);
  assert.deepEqual(commands, []);
  pads = [pad([0, 0, 0, 0])];
  all.poll(0.15);
  pads = [pad([0, 0, 0, 0], [0, 9])];
  all.poll(0.15);
  all.poll(0.15);
  assert.deepEqual(commands, ["start", "pause"]);
});

test("a pad that is gone wants nothing any more", () => {
  /** @type {any[]} */
  const wants = [];
  /** @type {any[]} */
  let pads = [null, pad([0, -1, 0, 0])];
  const all = new Gamepads(() => pads, { want: (stick, rates) => wants.push([stick, rates?.forward ?? null]), command: () => {} });
  assert.equal(all.poll(0.15), 1);
  pads = [null];
  assert.equal(all.poll(0.15), 0);
  assert.deepEqual(wants, [["gamepad 0", 1], ["gamepad 0", null]]);
});
