import assert from "node:assert/strict";
import { test } from "node:test";
import { linkTo, shared, watchLink, watchToken } from "../src/share.js";

const WALK = { world: "causeway-pocket", seed: 4294967295, prompt: "雪山 & “meadow”", picture: "islands.png", size: "96x64", keys: "w*12,wl*6,-" };

test("what a link says comes back, and nothing else of the address goes along", () => {
  const link = linkTo("https://example.org/below/?lang=en#key=secret", WALK);
  assert.ok(link.startsWith("https://example.org/below/?lang=en#w="));
  assert.ok(!link.includes("secret"));
  assert.match(link, /#w=[\w-]+$/);
  assert.deepEqual(shared(new URL(link).hash), WALK);
  const without = { ...WALK, picture: null, keys: "" };
  assert.deepEqual(shared(new URL(linkTo("http://localhost/", without)).hash), without);
});

test("an address without a walk tells of none", () => {
  assert.equal(shared(""), null);
  assert.equal(shared("#key=secret"), null);
});

test("a link that is cut or of another version is told", () => {
  const { hash } = new URL(linkTo("http://localhost/", WALK));
  assert.throws(() => shared(hash.slice(0, -9)), /not whole/);
  assert.throws(() => shared("#w=%%%"), /not whole/);
  const other = (/** @type {object} */ told) => `#w=${btoa(JSON.stringify(told))}`;
  for (const told of [{}, null, { ...WALK, v: 2 }, { v: 1, ...WALK, prompt: "" , seed: -1 }, { v: 1, world: "x", seed: 1, prompt: "", picture: 7, size: "", keys: "" }]) {
    assert.throws(() => shared(`#w=${Buffer.from(JSON.stringify(told)).toString("base64url")}`), /another version/);
  }
  assert.throws(() => shared(other({ v: 3 })), /another version/);
});

test("a link to watch stands behind the # and begins no walk", () => {
  const link = watchLink("https://world.example/below/?lang=en#key=secret", "cwv_a-b_C");
  assert.equal(link, "https://world.example/below/?lang=en#watch=cwv_a-b_C");
  assert.equal(watchToken(new URL(link).hash), "cwv_a-b_C");
  assert.equal(shared(new URL(link).hash), null);
  assert.equal(watchToken(""), null);
  assert.equal(watchToken("#w=x"), null);
});
