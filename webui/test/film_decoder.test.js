import assert from "node:assert/strict";
import { test } from "node:test";

import { FilmDecoder, codecOf } from "../src/film_decoder.js";

/** An access unit whose parameter sets say Main profile, level 3.1. */
const KEY = Uint8Array.of(0, 0, 0, 1, 0x67, 0x4d, 0x40, 0x1f, 9, 0, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 7);
const DELTA = Uint8Array.of(0, 0, 0, 1, 0x61, 3);

test("the codec's name stands in the parameter sets", () => {
  assert.equal(codecOf(KEY), "avc1.4d401f");
  assert.throws(() => codecOf(DELTA), /without its parameter sets/);
});

/** A decoder that gives every frame out at once, and one that fails at its third. */
function pretend({ failsAt = Infinity } = {}) {
  const fed = [];
  globalThis.createImageBitmap = async (frame) => `picture ${frame.timestamp}`;
  globalThis.EncodedVideoChunk = class { constructor(init) { Object.assign(this, init); } };
  globalThis.VideoDecoder = class {
    state = "unconfigured";
    constructor(callbacks) { this.callbacks = callbacks; }
    configure({ codec }) { this.state = "configured"; fed.push(codec); }
    close() { this.state = "closed"; }
    decode({ type, timestamp }) {
      fed.push(type);
      if (fed.length === failsAt) return queueMicrotask(() => this.callbacks.error(new Error("broken")));
      queueMicrotask(() => this.callbacks.output({ timestamp, close() {} }));
    }
  };
  return fed;
}

const message = (chunk, batch, pieces, keyFrames = []) => ({ chunk, batch, pieces, keyFrames });

test("a film begins at a key frame, and every access unit is decoded once", async () => {
  const fed = pretend();
  const film = new FilmDecoder();
  assert.deepEqual(await film.decode(message(0, 0, [DELTA])), []);
  assert.equal(film.wantsKey, true);
  assert.deepEqual(await film.decode(message(1, 0, [DELTA, KEY, DELTA], [1])), ["picture 0", "picture 1"]);
  assert.equal(film.wantsKey, false);
  // The line was cut within chunk 1: it comes again from its beginning.
  assert.deepEqual(await film.decode(message(1, 0, [DELTA, KEY, DELTA], [1])), []);
  assert.deepEqual(await film.decode(message(1, 1, [DELTA])), ["picture 2"]);
  assert.deepEqual(fed, ["avc1.4d401f", "key", "delta", "delta"]);
});

test("after a mistake the film goes on at the next key frame", async () => {
  pretend({ failsAt: 3 });
  const film = new FilmDecoder();
  await assert.rejects(film.decode(message(0, 0, [KEY, DELTA], [0])), /broken/);
  assert.equal(film.wantsKey, true);
  assert.deepEqual(await film.decode(message(1, 0, [DELTA])), []);
  assert.deepEqual(await film.decode(message(2, 0, [KEY], [0])), ["picture 2"]);
});
