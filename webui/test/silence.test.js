import assert from "node:assert/strict";
import { test } from "node:test";
import { Silence, stalledText } from "../src/silence.js";

const CHUNK_MS = 250;

/** A walk whose chunks come every `everyMs`, the last one at the time that is given back. */
function walking({ everyMs = CHUNK_MS, chunks = 20 } = {}) {
  const silence = new Silence(CHUNK_MS);
  silence.listen(0);
  for (let i = 0; i < chunks; i++) {
    silence.heard(i * everyMs);
    silence.chunk(i, i * everyMs);
    silence.heard(i * everyMs + 1);
  }
  return { silence, last: (chunks - 1) * everyMs + 1 };
}

test("a silence of more than two chunks and a second is said, and ten seconds of it are too many", () => {
  const { silence, last } = walking();
  assert.equal(silence.stalledFor(last + 1500), null);
  assert.equal(silence.stalledFor(last + 1501), 1501);
  assert.equal(silence.isOver(last + 10_000), false);
  assert.equal(silence.isOver(last + 10_001), true);
});

test("a world whose chunks take long to draw is not stalled while it draws", () => {
  const { silence, last } = walking({ everyMs: 20_000 });
  assert.equal(silence.stalledFor(last + 40_900), null);
  assert.equal(silence.stalledFor(last + 41_100), 41_100);
  assert.equal(silence.isOver(last + 80_000), false);
  assert.equal(silence.isOver(last + 83_000), true);
});

test("one stall that ended does not make the next one wait", () => {
  const { silence, last } = walking();
  const back = last + 8000;
  silence.heard(back);
  silence.chunk(20, back);
  assert.equal(silence.stalledFor(back + 1000), null);
  assert.equal(silence.stalledFor(back + 1501), 1501);
});

test("any message ends a silence, also one without pictures", () => {
  const { silence, last } = walking();
  silence.heard(last + 1400);
  assert.equal(silence.stalledFor(last + 2800), null);
});

test("while the server rests nothing is expected of it, and afterwards the silence begins anew", () => {
  const { silence, last } = walking();
  silence.rest();
  assert.equal(silence.stalledFor(last + 60_000), null);
  silence.heard(last + 60_000);
  assert.equal(silence.isOver(last + 120_000), false);
  silence.listen(last + 120_000);
  assert.equal(silence.stalledFor(last + 121_000), null);
  silence.chunk(21, last + 121_000);
  assert.equal(silence.stalledFor(last + 121_600), 1600, "the rest is no distance between two chunks");
});

test("a silence is told in whole seconds that have passed", () => {
  assert.deepEqual([1501, 2999, 3000].map(stalledText), ["No pictures for 1 s…", "No pictures for 2 s…", "No pictures for 3 s…"]);
});
