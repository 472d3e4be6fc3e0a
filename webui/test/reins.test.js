import assert from "node:assert/strict";
import { test } from "node:test";

import { Reins } from "../src/reins.js";

test("a player steers until it hands something over, and again when it is back", () => {
  const reins = new Reins();
  reins.begin(false);
  assert.deepEqual([reins.leads, reins.directs, reins.said], [true, true, null]);
  assert.equal(reins.held({ camera: 3, prompt: 3 }), true);
  assert.deepEqual([reins.leads, reins.directs, reins.said], [false, false, { word: "other_steers", values: { viewer: 3 } }]);
  assert.equal(reins.held({ camera: 3, prompt: 2 }), false, "the camera stays where it is");
  assert.deepEqual(reins.said, { word: "others_steer", values: { walker: 3, director: 2 } });
  reins.held({ camera: 0, prompt: 2 });
  assert.deepEqual([reins.leads, reins.directs, reins.said?.word], [true, false, "other_directs"]);
  reins.held({ camera: 4, prompt: 0 });
  assert.deepEqual([reins.leads, reins.directs, reins.said?.word], [false, true, "other_walks"]);
  reins.begin(false);
  assert.equal(reins.said, null);
});

test("a viewer steers what it was handed, and nothing before it knows its number", () => {
  const reins = new Reins();
  reins.begin(true);
  assert.deepEqual([reins.leads, reins.directs, reins.said], [false, false, null]);
  reins.am(2);
  reins.held({ camera: 0, prompt: 2 });
  assert.deepEqual([reins.leads, reins.directs, reins.said?.word], [false, true, "you_direct"]);
  reins.held({ camera: 2, prompt: 5 });
  assert.deepEqual([reins.leads, reins.directs, reins.said?.word], [true, false, "you_walk"]);
  reins.held({ camera: 2, prompt: 2 });
  assert.equal(reins.said?.word, "you_steer");
});
