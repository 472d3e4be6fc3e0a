import assert from "node:assert/strict";
import { test } from "node:test";
import { dragged, part, room } from "../src/crop.js";

const WORLD = { width: 96, height: 64 };
const WIDE = { width: 3000, height: 1000 };
const TALL = { width: 600, height: 1200 };

test("the part has the world's proportions, as large as the picture allows, from one end to the other", () => {
  assert.deepEqual(part(WIDE, WORLD, 0), { left: 0, top: 0, width: 1500, height: 1000 });
  assert.deepEqual(part(WIDE, WORLD, 0.5), { left: 750, top: 0, width: 1500, height: 1000 });
  assert.deepEqual(part(WIDE, WORLD, 1), { left: 1500, top: 0, width: 1500, height: 1000 });
  assert.deepEqual(part(TALL, WORLD, 1), { left: 0, top: 800, width: 600, height: 400 });
  assert.deepEqual(part({ width: 1, height: 900 }, WORLD, 0), { left: 0, top: 0, width: 1, height: 1 });
});

test("a picture of the world's proportions leaves nothing to choose", () => {
  assert.equal(room({ width: 960, height: 640 }, WORLD), 0);
  assert.equal(room(WIDE, WORLD), 1);
  assert.equal(dragged({ width: 960, height: 640 }, WORLD, 0.5, 0.3, 0.3), 0.5);
});

test("a picture goes along with the hand, and no further than its end", () => {
  assert.equal(dragged(WIDE, WORLD, 0.5, 0.25, 9), 0.25);
  assert.equal(dragged(WIDE, WORLD, 0.5, -2, 0), 1);
  assert.equal(dragged(TALL, WORLD, 0.5, 9, 0.5), 0.25);
});
