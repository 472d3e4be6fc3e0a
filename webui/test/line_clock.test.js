import assert from "node:assert/strict";
import { test } from "node:test";

import { LineClock } from "../src/line_clock.js";

/** The server's clock is 1000 ms behind; `there` and `back` are on the way, it thinks for 2 ms. */
function ask(clock, now, there, back) {
  const receivedMs = now + there - 1000;
  clock.answered({ clientMs: now, receivedMs, sentMs: receivedMs + 2 }, now + there + 2 + back);
}

test("the pair with the shortest way says how the clocks differ", () => {
  const clock = new LineClock();
  assert.equal(clock.here(5), null);
  ask(clock, 100, 80, 20);
  assert.equal(clock.here(0), 1000 - 30, "wrong by half of the difference");
  ask(clock, 200, 10, 10);
  ask(clock, 300, 90, 30);
  assert.equal(clock.here(0), 1000);
  clock.begin();
  assert.equal(clock.here(0), null, "another session counts anew");
});

test("it asks often at first and seldom later", () => {
  const clock = new LineClock();
  const asked = [];
  for (let now = 0; now < 25_000; now += 100) if (clock.asks(now)) asked.push(now);
  assert.deepEqual(asked, [0, 500, 1000, 1500, 11_500, 21_500]);
});
