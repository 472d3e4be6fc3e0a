import assert from "node:assert/strict";
import { test } from "node:test";
import { Playback } from "../src/playback.js";

const FPS = 16;
const FRAME_MS = 1000 / FPS;
const REFRESH_MS = 1000 / 60;

/**
 * Play a timetable on a made-up clock.
 * @param {{ at: number, chunk: number, frames: number }[]} arrivals in order of time
 */
function play(arrivals, playback = /** @type {Playback<number>} */ (new Playback(FPS))) {
  const end = arrivals[arrivals.length - 1].at + 1000;
  /** @type {{ at: number, frame: number, waited: number }[]} */
  const shown = [];
  /** @type {number[]} */
  const cameAt = [];
  let [next, dropped, buffered] = [0, 0, 0];
  for (let now = 0; now < end; now += REFRESH_MS) {
    while (next < arrivals.length && arrivals[next].at <= now) {
      const { at, chunk, frames } = arrivals[next++];
      const first = cameAt.length;
      for (let i = 0; i < frames; i++) cameAt.push(at);
      dropped += playback.push(chunk, null, cameAt.slice(first).map((_, i) => first + i), at).length;
      buffered = Math.max(buffered, playback.buffered);
    }
    const due = playback.due(now);
    const frame = due[due.length - 1];
    if (frame !== undefined) shown.push({ at: now, frame, waited: now - cameAt[frame] });
  }
  return { shown, dropped, buffered, total: cameAt.length };
}

/** The longest time one picture stood still, from `since` until the last picture. @param {{at: number}[]} shown */
const longestStill = (shown, since = 0) =>
  Math.max(...shown.slice(1).map(({ at }, i) => (shown[i].at >= since ? at - shown[i].at : 0)));

/** Chunks as a paced server sends them. @param {(index: number) => number} lateness milliseconds a chunk is late */
function chunks({ count = 40, frames = 4, first = 1, lateness = /** @param {number} _ */ (_) => 0, speed = 1 }) {
  return Array.from({ length: count }, (_, index) => ({
    at: index === 0 ? 0 : ((first + (index - 1) * frames) * FRAME_MS) / speed + lateness(index),
    chunk: index,
    frames: index === 0 ? first : frames,
  }));
}

/** The same "random" every time, in 0..1. @param {number} i */
const noise = (i) => Math.abs(Math.sin(i * 127.1) * 43758.5453) % 1;

test("the first picture is shown when it comes", () => {
  const playback = new Playback(FPS);
  playback.push(0, null, ["a"], 1234);
  assert.deepEqual(playback.due(1234), ["a"]);
});

test("a steady stream is shown evenly, whole, and soon", () => {
  for (const [first, frames] of [[1, 4], [9, 12], [13, 16]]) {
    const { shown, dropped, total } = play(chunks({ first, frames }));
    assert.equal(dropped, 0);
    assert.equal(shown.length, total);
    assert.ok(longestStill(shown, 1000) <= FRAME_MS + 2 * REFRESH_MS, `${longestStill(shown, 1000)}`);
    const firstsOfChunks = shown.filter(({ frame }) => frame >= first && (frame - first) % frames === 0).slice(5);
    const worst = Math.max(...firstsOfChunks.map(({ waited }) => waited));
    assert.ok(worst <= 60 + REFRESH_MS, `a chunk waited ${worst} ms to be seen`);
  }
});

test("a chunk that comes in parts plays as one that comes whole", () => {
  const parts = chunks({ first: 9, frames: 12 }).flatMap(({ at, chunk, frames }) => [
    { at, chunk, frames: 6 }, { at: at + 3, chunk, frames: frames - 6 },
  ]);
  const { shown, dropped } = play(parts);
  assert.equal(dropped, 0);
  assert.ok(longestStill(shown, 1000) <= FRAME_MS + 2 * REFRESH_MS, `${longestStill(shown, 1000)}`);
});

test("after jitter the lead has grown to cover it, and in calm it shrinks again", () => {
  const playback = /** @type {Playback<number>} */ (new Playback(FPS));
  const jittery = chunks({ count: 120, lateness: (i) => (i < 80 ? 100 * noise(i) : 0) });
  const calm = jittery.slice(80);
  const { shown } = play(jittery.slice(0, 80), playback);
  assert.ok(playback.lead > 60, `lead ${playback.lead}`);
  const freezes = shown.slice(1).filter(({ at }, i) => shown[i].at > 3000 && at - shown[i].at > 2.2 * FRAME_MS);
  assert.ok(freezes.length <= 2, `${freezes.length} freezes`);
  const before = playback.lead;
  for (const { at, chunk, frames } of calm) {
    playback.push(chunk, null, new Array(frames).fill(0), at);
    playback.due(at + 249);
  }
  assert.ok(playback.lead < before / 1.5, `${before} → ${playback.lead}`);
});

test("a burst after a stall is caught up with, in order and within bounds", () => {
  const stalled = chunks({ lateness: (i) => (i >= 10 && i < 16 ? (16 - i) * 4 * FRAME_MS : 0) });
  const { shown, dropped, buffered } = play(stalled);
  assert.ok(dropped > 0 && dropped < 24, `${dropped} dropped`);
  assert.ok(buffered <= 16, `${buffered} buffered`);
  assert.ok(shown.every(({ frame }, i) => i === 0 || frame > shown[i - 1].frame));
  const late = shown.filter(({ at }) => at > 6000);
  assert.ok(Math.max(...late.map(({ waited }) => waited)) < 4 * FRAME_MS + 430);
});

test("a server too slow for the world gives slow motion, not stop and go", () => {
  const { shown, dropped, total } = play(chunks({ speed: 0.6 }));
  assert.equal(dropped, 0);
  assert.equal(shown.length, total);
  assert.ok(longestStill(shown, 3000) < 1.4 * (FRAME_MS / 0.6), `${longestStill(shown, 3000)}`);
});

test("a server that runs ahead is not followed into an ever longer queue", () => {
  const { buffered, dropped } = play(chunks({ count: 200, speed: 3 }));
  assert.ok(buffered <= 12, `${buffered} buffered`);
  assert.ok(dropped > 0);
});

test("starved it keeps still, and goes on with the next picture at once", () => {
  const playback = new Playback(FPS);
  playback.push(0, null, [0], 0);
  playback.push(1, null, [1, 2, 3, 4], 70);
  for (let now = 0; now < 5000; now += REFRESH_MS) playback.due(now);
  assert.equal(playback.buffered, 0);
  playback.push(2, null, [5, 6, 7, 8], 5000);
  assert.deepEqual(playback.due(5000), [5]);
  assert.ok(playback.lead <= 400);
});

test("a screen that refreshes less often than the world draws skips, and stays in time", () => {
  const playback = new Playback(FPS);
  const due = [];
  for (let now = 0; now < 10_000; now += 250) {
    playback.push(now / 250, null, [1, 2, 3, 4], now);
    due.push(playback.due(now).length);
  }
  assert.ok(due.some((count) => count > 1));
  assert.ok(playback.buffered <= 8, `${playback.buffered}`);
});

test("the rate shown counts the pictures of the last second", () => {
  const playback = /** @type {Playback<number>} */ (new Playback(FPS));
  const arrivals = chunks({ count: 20 });
  play(arrivals, playback);
  const end = arrivals[arrivals.length - 1].at + 200;
  assert.ok(Math.abs(playback.fps(end) - FPS) <= 2, `${playback.fps(end)}`);
  assert.equal(playback.fps(end + 2000), 0);
});

test("a server that rested for a minute was not late, and what comes then plays at its own pace", () => {
  const playback = new Playback(FPS);
  const before = chunks({ count: 10 });
  play(before, playback);
  const { pace, lead } = playback;
  playback.rested();
  const after = chunks({ count: 10 }).map(({ at, chunk, frames }) => ({ at: at + 60_000, chunk: chunk + 10, frames }));
  const { shown, dropped, total } = play(after, playback);
  assert.equal(dropped, 0);
  assert.equal(shown.length, total);
  assert.ok(longestStill(shown) <= FRAME_MS + 2 * REFRESH_MS, `${longestStill(shown)}`);
  assert.ok(playback.pace <= 1.01 * pace && playback.lead <= lead + 1, `${playback.pace} ms, lead ${playback.lead} ms`);
});

test("what is cleared is handed back", () => {
  const playback = new Playback(FPS);
  playback.push(0, null, ["a", "b"], 0);
  assert.deepEqual(playback.clear(), ["a", "b"]);
  assert.equal(playback.buffered, 0);
});

/**
 * A walk with a server that paces as ours does: a chunk is drawn in `drawMs`, so that it comes when the one before it has been
 * shown; a key press starts one at once, or after the chunk that is being drawn.
 * @param {{ drawMs: number, presses: number[], lateMs?: (chunk: number) => number }} how
 */
function walk({ drawMs, presses, lateMs = () => 0 }) {
  const [CHUNK_MS, MARGIN_MS] = [4 * FRAME_MS, 10];
  const playback = /** @type {Playback<{ chunk: number, eventId: number }>} */ (new Playback(FPS));
  const end = presses[presses.length - 1] + 2000;
  /** @type {{ at: number, chunk: number, eventId: number }[]} */
  const arrivals = [];
  let [shownAt, eventShown] = [0, 0];
  /** @param {number} t */
  const newest = (t) => presses.filter((at) => at <= t).length;
  for (let [t, chunk] = [0, 0]; t < end; chunk++) {
    const due = shownAt - drawMs - MARGIN_MS;
    const press = presses.find((at, i) => i >= eventShown && at <= due);
    const begins = Math.max(t, newest(t) > eventShown ? t : (press ?? due));
    const eventId = newest(begins);
    const drawn = begins + drawMs + lateMs(chunk);
    t = eventId > eventShown ? drawn : Math.max(drawn, shownAt);
    eventShown = eventId;
    shownAt = t + CHUNK_MS;
    arrivals.push({ at: t, chunk, eventId });
  }
  /** @type {{ at: number, eventId: number, chunk: number }[]} */
  const shown = [];
  let next = 0;
  for (let now = 0; now < end; now += REFRESH_MS) {
    while (next < arrivals.length && arrivals[next].at <= now) {
      const { at, chunk, eventId } = arrivals[next++];
      playback.push(chunk, eventId, Array(4).fill({ chunk, eventId }), at);
    }
    const frame = playback.due(now).at(-1);
    if (frame) shown.push({ at: now, ...frame });
  }
  return { arrivals, shown, playback };
}

test("pictures that obey a newer input are shown with the next refresh, whatever is queued", () => {
  for (const drawMs of [15, 40, 106, 180]) {
    const presses = Array.from({ length: 100 }, (_, i) => 2000 + 900 * i + 700 * noise(i));
    const { arrivals, shown } = walk({ drawMs, presses });
    for (let id = 1; id <= presses.length; id++) {
      const came = arrivals.find(({ eventId }) => eventId >= id)?.at ?? NaN;
      const seen = shown.find(({ eventId }) => eventId >= id)?.at ?? NaN;
      assert.ok(seen - came <= REFRESH_MS, `drawn in ${drawMs} ms, press ${id}: shown ${seen - came} ms after it came`);
    }
  }
});

test("a cut over to an answer is no stutter: at most one gap over one and a half frame times a press", () => {
  for (const drawMs of [15, 40, 106, 180]) {
    const presses = Array.from({ length: 100 }, (_, i) => 2000 + 900 * i + 700 * noise(i));
    const { shown } = walk({ drawMs, presses, lateMs: (chunk) => 30 * noise(chunk) });
    presses.forEach((press, i) => {
      const until = presses[i + 1] ?? Infinity;
      const gaps = shown.slice(1).map(({ at }, j) => ({ from: shown[j].at, ms: at - shown[j].at }));
      const long = gaps.filter(({ from, ms }) => from >= press && from < until && ms > 1.5 * FRAME_MS);
      assert.ok(long.length <= 1, `drawn in ${drawMs} ms, press ${i}: ${long.map(({ ms }) => ms.toFixed())}`);
    });
  }
});

test("only what a newer input makes outdated is dropped: a repeated id, a part of the same chunk or no id plays on", () => {
  const playback = /** @type {Playback<string>} */ (new Playback(FPS));
  assert.deepEqual(playback.push(0, null, ["a", "b"], 0), []);
  assert.deepEqual(playback.due(0), ["a"]);
  assert.deepEqual(playback.push(1, 7, ["c", "d"], 10), ["b"]);
  assert.deepEqual(playback.due(10), ["c"], "it is due at once");
  assert.deepEqual(playback.push(1, 7, ["e"], 12), []);
  assert.deepEqual(playback.push(2, 7, ["f"], 14), []);
  assert.deepEqual(playback.push(3, null, ["g"], 16), []);
  assert.equal(playback.buffered, 4);
  assert.equal(playback.outdated, 1);
  assert.equal(playback.dropped, 0);
});

test("an input that comes before its predecessor's answer was seen cuts over once more", () => {
  const playback = /** @type {Playback<string>} */ (new Playback(FPS));
  playback.push(0, 1, ["a", "b", "c", "d"], 0);
  playback.due(0);
  assert.deepEqual(playback.push(1, 3, ["e"], 20), ["b", "c", "d"]);
  assert.deepEqual(playback.due(20), ["e"]);
});
