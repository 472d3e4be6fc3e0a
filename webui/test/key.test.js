import assert from "node:assert/strict";
import { test } from "node:test";
import { Key, withoutKey } from "../src/key.js";

/** A tab's storage. */
function store() {
  /** @type {Map<string, string>} */
  const kept = new Map();
  return {
    getItem: (/** @type {string} */ name) => kept.get(name) ?? null,
    setItem: (/** @type {string} */ name, /** @type {string} */ value) => void kept.set(name, value),
    removeItem: (/** @type {string} */ name) => void kept.delete(name),
  };
}

test("a key of the address is kept for the tab, and found again without it", () => {
  const tab = store();
  assert.equal(new Key("http://host/world/#key=ck_1", tab).value, "ck_1");
  assert.equal(new Key("http://host/world/", tab).value, "ck_1");
  assert.equal(new Key("http://host/other/", tab).value, null, "another path is another server");
  assert.equal(new Key("http://host/world/#key=ck_2", tab).value, "ck_2", "the address is newer");
});

test("a key that is taken back is forgotten", () => {
  const tab = store();
  new Key("http://host/", tab).value = "ck_1";
  new Key("http://host/", tab).value = null;
  assert.equal(new Key("http://host/", tab).value, null);
});

test("a browser that keeps nothing has the key until the page is left", () => {
  const full = { ...store(), setItem: () => { throw new Error("full"); } };
  const key = new Key("http://host/#key=ck_1", full);
  assert.equal(key.value, "ck_1");
  assert.equal(new Key("http://host/", null).value, null);
});

test("the address loses its key and nothing else", () => {
  assert.equal(withoutKey("http://host/world/?a=1#key=ck_1"), "http://host/world/?a=1");
  assert.equal(withoutKey("http://host/#key=ck_1&w=7"), "http://host/#w=7");
  assert.equal(withoutKey("http://host/#w=7"), null);
  assert.equal(withoutKey("http://host/"), null);
});
