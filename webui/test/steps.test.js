import assert from "node:assert/strict";
import { test } from "node:test";
import { PICTURES_MAX, Steps } from "../src/steps.js";

/** A step is 250 ms at 16 pictures a second. */
const FPS = 16;

test("what was held becomes a script with a word for each step", () => {
  const steps = new Steps();
  steps.begin(["w"], 1000);
  steps.held(["l", "w"], 2000);
  steps.held([], 2500);
  steps.held(["j"], 2750);
  assert.deepEqual(steps.script(FPS, 3000), { script: "w*4,lw*2,-,j", seconds: 2 });
});

test("a step has what was held in its middle, and times between steps are rounded", () => {
  const steps = new Steps();
  steps.begin([], 0);
  steps.held(["w"], 120);
  steps.held(["s"], 370);
  assert.deepEqual(steps.script(FPS, 620), { script: "w,s", seconds: 0.5 });
  assert.deepEqual(steps.script(FPS, 630), { script: "w,s*2", seconds: 0.75 });
});

test("a tap between the middles of two steps is not in the script", () => {
  const steps = new Steps();
  steps.begin([], 0);
  steps.held(["w"], 130);
  steps.held([], 200);
  assert.deepEqual(steps.script(FPS, 500), { script: "-*2", seconds: 0.5 });
});

test("a rest is no part of the walk", () => {
  const steps = new Steps();
  steps.begin(["w"], 0);
  steps.rest(500);
  steps.held([], 700);
  steps.goOn(60_000);
  steps.goOn(60_100);
  assert.deepEqual(steps.script(FPS, 60_250), { script: "w*2,-", seconds: 0.75 });
  steps.rest(60_250);
  assert.deepEqual(steps.script(FPS, 99_000), { script: "w*2,-", seconds: 0.75 });
});

test("there is no script before a walk, and a new walk forgets the last one", () => {
  const steps = new Steps();
  assert.equal(steps.script(FPS, 0), null);
  steps.held(["w"], 10);
  steps.goOn(20);
  assert.equal(steps.script(FPS, 5000), null, "keys before a walk steer nothing");
  steps.begin(["w"], 5000);
  assert.equal(steps.script(FPS, 5100), null, "less than half a step");
  steps.begin(["d"], 6000);
  assert.deepEqual(steps.script(FPS, 6500), { script: "d*2", seconds: 0.5 });
});

test("a long walk gives its first half minute, the longest clip", () => {
  const steps = new Steps();
  steps.begin(["w"], 0);
  steps.held(["s"], 20_000);
  const walked = steps.script(FPS, 600_000);
  assert.deepEqual(walked, { script: "w*80,s*40", seconds: 30 });
  assert.ok(16 * 30 <= PICTURES_MAX);
});
