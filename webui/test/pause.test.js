import assert from "node:assert/strict";
import { test } from "node:test";
import { Pause } from "../src/pause.js";

/** A session whose server has said hello. */
function greeted() {
  const pause = new Pause();
  pause.hello();
  return pause;
}

/** Said for a tab that is: */
const looked = (/** @type {Pause} */ pause) => pause.take(false, false);
const hidden = (/** @type {Pause} */ pause) => pause.take(true, false);

test("a hidden tab pauses once, and goes on once when it is seen again", () => {
  const pause = greeted();
  assert.deepEqual([looked(pause), hidden(pause), hidden(pause)], [null, "pause", null]);
  assert.equal(pause.told, true);
  assert.deepEqual([looked(pause), looked(pause)], ["resume", null]);
  assert.equal(pause.told, false);
});

test("what the visitor paused stays paused when the tab comes back", () => {
  const pause = greeted();
  pause.byHand = true;
  assert.deepEqual([looked(pause), hidden(pause), looked(pause)], ["pause", null, null]);
  pause.byHand = false;
  assert.equal(looked(pause), "resume");
});

test("what the visitor lets go on in a hidden tab goes on when it is seen", () => {
  const pause = greeted();
  pause.byHand = true;
  assert.equal(hidden(pause), "pause");
  pause.byHand = false;
  assert.deepEqual([hidden(pause), looked(pause)], [null, "resume"]);
});

test("a hidden tab that records does not pause, until the recording ends", () => {
  const pause = greeted();
  assert.equal(pause.take(true, true), null);
  assert.equal(pause.take(true, false), "pause");
});

test("the visitor's pause holds while recording too", () => {
  const pause = greeted();
  pause.byHand = true;
  assert.equal(pause.take(false, true), "pause");
  assert.equal(pause.take(true, true), null);
});

test("a server that has not said hello is told nothing", () => {
  const pause = new Pause();
  pause.byHand = true;
  assert.deepEqual([looked(pause), hidden(pause), looked(pause)], [null, null, null]);
  assert.equal(pause.told, false);
});

test("a session that begins in a hidden tab pauses with the server's hello", () => {
  const pause = new Pause();
  assert.equal(hidden(pause), null);
  pause.hello();
  assert.equal(hidden(pause), "pause");
});

test("after a cut nothing is said before the hello, and then what holds is said again", () => {
  for (const [before, after, said] of /** @type {const} */ ([
    [hidden, hidden, "pause"], [hidden, looked, "resume"], [looked, hidden, "pause"], [looked, looked, "resume"],
  ])) {
    const pause = greeted();
    before(pause);
    pause.lost();
    assert.equal(pause.told, false);
    assert.equal(after(pause), null);
    pause.hello();
    assert.deepEqual([after(pause), after(pause)], [said, null]);
  }
});
