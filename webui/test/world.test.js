import assert from "node:assert/strict";
import { test } from "node:test";
import { card, galleryItem, healthOf, size, sizeProblem } from "../src/world.js";

const own = { default_size: "832x480", fps: 16, chunk: 3, needs_first_frame: true, window_is_fixed: false, presets: ["a desert at night"], keys: ["w", "s"], look_step: { yaw_deg: 10, pitch_deg: 8 } };

test("a card says which sizes are drawn, as a list or as a rule", () => {
  const listed = card({ id: "pocket", causeway: { ...own, sizes: { only: ["96x64", "128x96"] } } });
  assert.deepEqual(listed, {
    name: "pocket", sizes: { only: [{ width: 96, height: 64 }, { width: 128, height: 96 }] },
    defaultSize: { width: 832, height: 480 }, fps: 16, chunk: 3, needsFirstFrame: true, presets: ["a desert at night"], keys: ["w", "s"],
    rates: false, degrees: { yaw: 10, pitch: 8 },
  });
  const { look_step, ...silent } = own;
  assert.equal(card({ id: "other", causeway: { ...silent, sizes: { only: [] } } }).degrees, null);
  const steering = { rates: true, poses: "fixed", intrinsics: false };
  assert.equal(card({ id: "pocket", causeway: { ...own, steering, sizes: { only: [] } } }).rates, true);
  const ruled = card({ id: "lingbot", causeway: { ...own, sizes: { multiple: 16, pixels_max: 399360 } } });
  assert.deepEqual(ruled.sizes, { multiple: 16, pixelsMax: 399360 });
});

test("a size is two positive numbers around an x", () => {
  assert.deepEqual(size(" 64 X 48 "), { width: 64, height: 48 });
  assert.deepEqual(size("832×480"), { width: 832, height: 480 });
  assert.deepEqual(size("８３２ｘ４８０"), { width: 832, height: 480 });
  for (const bad of ["", "64", "64x", "x48", "0x48", "64x0", "-64x48", "64x48x3", "6.4x48"]) {
    assert.throws(() => size(bad), /not a size/, bad);
  }
});

test("a size that is not drawn is told what is", () => {
  const only = { only: [{ width: 96, height: 64 }] };
  assert.equal(sizeProblem(only, { width: 96, height: 64 }), null);
  assert.match(sizeProblem(only, { width: 64, height: 96 }) ?? "", /draws 96×64/);
  const rule = { multiple: 16, pixelsMax: 64 * 64 };
  assert.equal(sizeProblem(rule, { width: 64, height: 64 }), null);
  assert.match(sizeProblem(rule, { width: 60, height: 64 }) ?? "", /multiples of 16/);
  assert.match(sizeProblem(rule, { width: 128, height: 64 }) ?? "", /at most 4,096 pixels/);
});

test("a server is loading only if it is ours and says so", () => {
  const check = (/** @type {number} */ status, /** @type {string} */ body, /** @type {string} */ expected) =>
    assert.equal(healthOf(status, body), expected, `${status} ${body}`);
  check(200, '{"status":"ok"}', "ready");
  check(503, '{"status":"loading"}', "loading");
  check(503, '{"status":"draining"}', "closing");
  check(503, '{"status":"stopping"}', "closing");
  for (const body of ["", "null", "[]", "true", '"ok"', '{"status":"UP"}', '{"status":"ok"', "<!doctype html><title>Not found</title>"]) {
    for (const status of [200, 401, 404, 500, 502, 503]) check(status, body, "strange");
  }
  check(404, '{"status":"ok"}', "strange");
  check(200, '{"status":"loading"}', "strange");
});

test("a picture of the gallery is below the page, wherever a proxy has put both", () => {
  const item = { name: "a b", prompt: "p", image: "/v1/gallery/a%20b" };
  assert.equal(galleryItem(item, "https://host/world/#key=k").url, "https://host/world/v1/gallery/a%20b");
  assert.equal(galleryItem(item, "http://127.0.0.1:3/").url, "http://127.0.0.1:3/v1/gallery/a%20b");
});
