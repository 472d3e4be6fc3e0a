import assert from "node:assert/strict";
import { test } from "node:test";
import { drawTimeline, Timeline } from "../src/timeline.js";

test("a bar is as long as the picture before it stayed, and marked where it answers an input", () => {
  const timeline = new Timeline();
  timeline.shown(0, null);
  timeline.shown(62, null);
  timeline.shown(125, 3);
  timeline.shown(300, 3);
  assert.deepEqual(timeline.bars, [{ ms: 62, answers: false }, { ms: 63, answers: true }, { ms: 175, answers: false }]);
});

test("a rest is no bar, and old bars go", () => {
  const timeline = new Timeline();
  timeline.shown(0, 1);
  timeline.rested();
  timeline.shown(9000, 1);
  assert.deepEqual(timeline.bars, []);
  for (let i = 1; i <= 500; i++) timeline.shown(9000 + i, 1);
  assert.equal(timeline.bars.length, 120);
});

test("a stutter is drawn in another colour, no higher than there is room", () => {
  /** @type {any[]} */
  const drawn = [];
  /** @type {any} */
  const context = {
    canvas: { width: 240, height: 60 }, fillStyle: "", clearRect() {},
    fillRect(/** @type {number[]} */ ...rect) { drawn.push([this.fillStyle, ...rect]); },
  };
  drawTimeline(context, [{ ms: 60, answers: true }, { ms: 900, answers: false }], 60);
  assert.deepEqual(drawn.slice(0, 3), [["#6fcf97", 236, 40, 1, 20], ["#f0b35a", 236, 0, 1, 5], ["#ff8f85", 238, 0, 1, 60]]);
});
