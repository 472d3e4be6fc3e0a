import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT } from "../src/bindings.js";
import { Controls } from "../src/controls.js";
import { Latency } from "../src/latency.js";

/** The action sets that are said now. @param {Controls} controls */
const said = (controls, buffered = 0) => controls.take(buffered)?.map(({ actions }) => actions.join("")) ?? null;

test("a press and a release are said at once, with their times", () => {
  const controls = new Controls();
  controls.hold("KeyW", ["w"], 10);
  assert.deepEqual(controls.take(0), [{ actions: ["w"], at: 10 }]);
  controls.hold("KeyW", [], 25);
  assert.deepEqual(controls.take(0), [{ actions: [], at: 25 }]);
  assert.equal(controls.take(0), null);
});

test("the whole set is said, in a fixed order, opposites and all", () => {
  const controls = new Controls();
  for (const action of ["w", "s", "a", "l"]) controls.hold(action, [action], 0);
  assert.deepEqual(controls.held, ["a", "l", "s", "w"]);
  assert.deepEqual(said(controls), ["w", "sw", "asw", "alsw"]);
});

test("auto-repeat says nothing", () => {
  const controls = new Controls();
  for (let now = 0; now < 100; now += 10) controls.hold("KeyW", ["w"], now);
  assert.deepEqual(said(controls), ["w"]);
});

test("a key held twice ends when both have let go", () => {
  const controls = new Controls();
  controls.hold("ArrowUp", ["i"], 0);
  controls.hold("pointer 1", ["i"], 1);
  controls.hold("ArrowUp", [], 2);
  assert.deepEqual(said(controls), ["i"]);
  controls.hold("pointer 1", [], 3);
  assert.deepEqual(said(controls), [""]);
});

test("letting go of what was never held says nothing", () => {
  const controls = new Controls();
  controls.hold("KeyW", [], 0);
  controls.releaseAll(1);
  assert.equal(said(controls), null);
});

test("a blur lets go of everything, once", () => {
  const controls = new Controls();
  controls.hold("KeyW", ["w"], 0);
  controls.hold("pointer 2", ["d"], 0);
  said(controls);
  controls.releaseAll(5);
  controls.releaseAll(6);
  assert.deepEqual(said(controls), [""]);
  // The key comes up later, elsewhere: nothing is left to say.
  controls.hold("KeyW", [], 9);
  assert.equal(said(controls), null);
});

test("while the socket is backed up changes wait, and a tap among them survives", () => {
  const controls = new Controls();
  const backedUp = 1 << 20;
  controls.hold("KeyW", ["w"], 0);
  assert.equal(said(controls, backedUp), null);
  for (let i = 0; i < 50; i++) {
    controls.hold("KeyD", ["d"], i);
    controls.hold("KeyD", [], i);
  }
  controls.hold("KeyW", [], 60);
  assert.equal(said(controls, backedUp), null);
  const sets = said(controls);
  assert.ok(sets && sets.length <= 8, `${sets?.length} transitions`);
  assert.equal(sets.at(-1), "");
  assert.ok(sets.includes("w") || sets.includes("dw"));
});

test("a new session hears what is held now and nothing older", () => {
  const controls = new Controls();
  controls.hold("KeyW", ["w"], 0);
  controls.hold("KeyA", ["a"], 1);
  controls.hold("KeyA", [], 2);
  controls.begin(10);
  assert.deepEqual(controls.take(0), [{ actions: ["w"], at: 10 }]);
  controls.releaseAll(11);
  controls.begin(12);
  assert.equal(controls.take(0), null);
});

test("arrows and letters mean the same looks", () => {
  const pairs = [["ArrowUp", "KeyI"], ["ArrowLeft", "KeyJ"], ["ArrowDown", "KeyK"], ["ArrowRight", "KeyL"]];
  for (const [arrow, letter] of pairs) assert.equal(DEFAULT[arrow], DEFAULT[letter]);
  assert.equal(DEFAULT.KeyX, undefined);
});

test("an input is seen when a picture carries its id or a later one", () => {
  const latency = new Latency();
  assert.equal(latency.sent(100), 1);
  assert.equal(latency.sent(150), 2);
  latency.shown(null, 180);
  assert.equal(latency.last, null);
  latency.shown(2, 400);
  assert.equal(latency.last, 250);
  // Pictures go on carrying the id while the key is held: only the first counts.
  latency.shown(2, 900);
  latency.shown(1, 900);
  assert.equal(latency.last, 250);
});

test("ids count on through sessions, so that an old picture answers no new input", () => {
  const latency = new Latency();
  latency.sent(0);
  latency.begin();
  assert.equal(latency.sent(10), 2);
  latency.shown(1, 20);
  assert.equal(latency.last, null);
});

test("the median of the last few is shown, and unanswered ids do not pile up", () => {
  const latency = new Latency();
  assert.equal(latency.median, null);
  for (const took of [50, 1000, 60]) latency.shown(latency.sent(0), took);
  assert.equal(latency.median, 60);
  for (let i = 0; i < 10_000; i++) latency.sent(i);
  latency.shown(9_000, 99_999);
  assert.equal(latency.last, 1000 - 940, "forgotten long ago");
});

test("a finger that slides from one key to the next changes both at once", () => {
  const controls = new Controls();
  controls.hold("pointer 1", ["w"], 0);
  controls.hold("pointer 1", ["w", "d"], 10);
  controls.hold("pointer 1", ["d"], 20);
  assert.deepEqual(controls.take(0), [
    { actions: ["w"], at: 0 }, { actions: ["d", "w"], at: 10 }, { actions: ["d"], at: 20 },
  ]);
});
