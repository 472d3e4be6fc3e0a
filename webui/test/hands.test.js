import assert from "node:assert/strict";
import { test } from "node:test";
import { Hands } from "../src/hands.js";

const STILL = { forward: 0, strafe: 0, yaw: 0, pitch: 0 };

/** A world that looks at the keys every 250 ms and turns by 10 degrees in that time. */
function hands(keys = [..."wasdijkl"], rates = false) {
  const hands = new Hands();
  hands.offer({ fps: 16, chunk: 1, keys, rates, degrees: { yaw: 10, pitch: 10 } });
  return hands;
}

/** What is held at every 50 ms. @param {Hands} hands @param {number} from @param {number} to */
function held(hands, from, to) {
  const all = [];
  for (let now = from; now < to; now += 50) all.push(hands.keys(now).join(""));
  return all;
}

/** How long a key was held, in slots. @param {string[]} held @param {string} key */
const slots = (held, key) => held.filter((keys) => keys.includes(key)).length / 5;

test("a stick at its end holds its keys without a gap", () => {
  const of = hands();
  of.want("pad", { forward: 1, strafe: 0, yaw: -0.95, pitch: 0 });
  assert.deepEqual(new Set(held(of, 0, 2000)), new Set(["wj"]));
});

test("a stick half way holds its key half of the time, and begins at once", () => {
  const of = hands();
  of.want("pad", { ...STILL, yaw: 0.5 });
  const all = held(of, 0, 4000);
  assert.equal(all[0], "l");
  assert.equal(slots(all, "l"), 8);
  for (const rate of [0.2, 0.35, 0.7]) {
    const of = hands();
    of.want("pad", { ...STILL, forward: -rate });
    const share = slots(held(of, 0, 10_000), "s") / 40;
    assert.ok(Math.abs(share - rate) <= 1 / 40, `${rate}: ${share}`);
  }
});

test("a stick that is let go lets go of the key at once", () => {
  const of = hands();
  of.want("pad", { ...STILL, strafe: 0.4 });
  assert.deepEqual(of.keys(0), ["d"]);
  of.want("pad", { ...STILL });
  assert.deepEqual(of.keys(20), []);
  assert.deepEqual(held(of, 20, 2000).join(""), "");
});

test("a stick that turns round is obeyed at once", () => {
  const of = hands();
  of.want("pad", { ...STILL, strafe: 0.6 });
  assert.deepEqual(of.keys(0), ["d"]);
  of.want("pad", { ...STILL, strafe: -0.6 });
  assert.deepEqual(of.keys(20), ["a"]);
});

test("the mouse turns by as much as it moved", () => {
  const of = hands();
  of.turn({ yaw: 30, pitch: 0 });
  assert.equal(slots(held(of, 0, 3000), "l"), 3);
  of.turn({ yaw: 0, pitch: -10 });
  assert.equal(slots(held(of, 3000, 6000), "k"), 1);
});

test("small movements of the mouse add up", () => {
  const of = hands();
  for (const now of [0, 20, 40]) {
    of.turn({ yaw: 1.5, pitch: 0 });
    assert.deepEqual(of.keys(now), []);
  }
  of.turn({ yaw: 1.5, pitch: 0 });
  assert.deepEqual(of.keys(60), ["l"]);
});

test("a mouse that turns round is obeyed at once", () => {
  const of = hands();
  of.turn({ yaw: 30, pitch: 0 });
  assert.deepEqual(of.keys(0), ["l"]);
  of.turn({ yaw: -12, pitch: 0 });
  assert.deepEqual(of.keys(50), ["j"]);
});

test("a mouse that is thrown turns on for a second, not longer", () => {
  const of = hands();
  of.turn({ yaw: 5000, pitch: 0 });
  assert.equal(slots(held(of, 0, 5000), "l"), 4);
});

test("two sticks add up, and no more than the whole", () => {
  const of = hands();
  of.want("pad", { ...STILL, forward: 0.8 });
  of.want("thumb", { ...STILL, forward: 0.8, yaw: 0.1 });
  assert.deepEqual(of.rates, { ...STILL, forward: 1, yaw: 0.1 });
  of.want("pad", null);
  assert.equal(of.rates.forward, 0.8);
});

test("only keys that the world knows are held", () => {
  const of = hands(["w", "s"]);
  of.want("pad", { ...STILL, forward: 1, yaw: 1 });
  assert.deepEqual(of.keys(0), ["w"]);
});

test("hands at rest hold nothing, whatever they held before", () => {
  const of = hands();
  of.want("pad", { ...STILL, forward: 1 });
  of.turn({ yaw: 90, pitch: 0 });
  of.keys(0);
  of.rest();
  assert.equal(held(of, 10, 2000).join(""), "");
});

test("a world that follows rates is sent the stick as it is, and keys otherwise", () => {
  assert.equal(hands().change(0), null);
  const of = hands(undefined, true);
  assert.equal(of.change(0), null, "nothing moved");
  of.want("pad", { ...STILL, yaw: 0.314, forward: 0.95 });
  assert.deepEqual(of.change(0), { rates: { ...STILL, yaw: 0.31, forward: 1 }, hurry: true });
  assert.equal(of.change(10), null, "as before");
  // What only changes is said now and then, and hurries nobody.
  of.want("pad", { ...STILL, yaw: 0.5, forward: 1 });
  assert.equal(of.change(20), null);
  assert.deepEqual(of.change(40), { rates: { ...STILL, yaw: 0.5, forward: 1 }, hurry: false });
  of.want("pad", null);
  assert.deepEqual(of.change(41), { rates: STILL, hurry: true });
});

test("the mouse turns by as much as it moved, as rates that last a slot each", () => {
  const of = hands(undefined, true);
  of.turn({ yaw: 24, pitch: -3 });
  let turned = { yaw: 0, pitch: 0 };
  let rates = STILL;
  for (let now = 0; now < 2000; now += 50) {
    rates = of.change(now)?.rates ?? rates;
    turned = { yaw: turned.yaw + (rates.yaw * 10 * 50) / 250, pitch: turned.pitch + (rates.pitch * 10 * 50) / 250 };
  }
  assert.ok(Math.abs(turned.yaw - 24) < 0.2 && Math.abs(turned.pitch + 3) < 0.2, JSON.stringify(turned));
  assert.deepEqual(rates, STILL);
  // Hands that rest owe nothing.
  of.turn({ yaw: 40, pitch: 0 });
  of.change(3000);
  of.rest();
  assert.deepEqual(of.change(3001), { rates: STILL, hurry: true });
});

test("the nearest keys of what rates steer turn as far, and take nothing from it", () => {
  const of = hands(undefined, true);
  of.turn({ yaw: 30, pitch: 0 });
  let [turned, rate, held] = [0, 0, 0];
  for (let now = 0; now < 3000; now += 50) {
    held += of.keys(now).includes("l") ? 50 / 250 : 0;
    rate = of.change(now)?.rates.yaw ?? rate;
    turned += (rate * 50) / 250;
  }
  assert.ok(Math.abs(turned - 3) < 1e-9 && Math.abs(held - 3) < 1e-9, `${turned} and ${held} slots`);
});

test("a new walk is told of a stick that is pushed already", () => {
  const of = hands(undefined, true);
  of.want("pad", { ...STILL, strafe: -1 });
  of.change(0);
  of.begin();
  assert.deepEqual(of.change(10), { rates: { ...STILL, strafe: -1 }, hurry: true });
});
