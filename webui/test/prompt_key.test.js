import assert from "node:assert/strict";
import { test } from "node:test";
import { LIVE, PHASES, WALKING } from "../src/phase.js";
import { isComposing, promptKey } from "../src/prompt_key.js";

const phases = /** @type {import("../src/phase.js").Phase[]} */ (Object.keys(PHASES));
const enter = { key: "Enter", shiftKey: false, isComposing: false, keyCode: 13 };

test("Enter sends a prompt while walking, starts a walk before, and ends no wait", () => {
  for (const phase of phases) {
    const expected = WALKING.includes(phase) ? "send" : LIVE.includes(phase) ? "nothing" : "start";
    assert.equal(promptKey(enter, phase), expected, phase);
  }
});

test("an Enter that ends a composition only does that, in every browser's order of events", () => {
  const chromium = { ...enter, isComposing: true, keyCode: 229 };
  const safari = { ...enter, isComposing: false, keyCode: 229 };
  const firefox = { ...enter, isComposing: true };
  for (const event of [chromium, safari, firefox]) {
    assert.ok(isComposing(event));
    for (const phase of phases) assert.equal(promptKey(event, phase), "write", phase);
  }
});

test("every other key is the field's own", () => {
  for (const event of [{ ...enter, shiftKey: true }, { ...enter, key: "a", keyCode: 65 }, { ...enter, key: "Process", keyCode: 229 }]) {
    for (const phase of phases) assert.equal(promptKey(event, phase), "write", phase);
  }
});
