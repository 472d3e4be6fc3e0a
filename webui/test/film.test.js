import assert from "node:assert/strict";
import { test } from "node:test";
import { endingSentence, fileName, Film, FILM_BYTES_MAX, FILM_MS_MAX, filmScale, filmType, timeText } from "../src/film.js";
import { EN } from "../src/words/en.js";
import { ZH } from "../src/words/zh.js";

/** A recorder that hands over what a test says, and a last part with its stop, as browsers do. */
class Recorder {
  state = "inactive";
  mimeType = "video/webm;codecs=vp9";
  stops = 0;
  last = new Blob(["end"]);
  /** @type {(event: { data: Blob }) => void} */
  ondataavailable = () => {};
  onstop = () => {};

  start() {
    this.state = "recording";
  }

  stop() {
    this.state = "inactive";
    this.stops += 1;
  }

  /** What follows a stop, a while later. */
  finish() {
    this.state = "inactive";
    this.ondataavailable({ data: this.last });
    this.onstop();
  }
}

/** A part that says it is so large, and is not. @param {number} size */
const part = (size) => Object.defineProperty(new Blob(["x"]), "size", { value: size });

/** A film that has begun at 1000, and what came of it. */
function begin() {
  const recorder = new Recorder();
  /** @type {{ file: Blob, ending: string }[]} */
  const kept = [];
  /** @type {Blob[]} */
  const parts = [];
  const film = new Film(/** @type {any} */ (recorder), 1000, (part) => parts.push(part), (file, ending) => kept.push({ file, ending }));
  return { recorder, film, kept, parts };
}

test("the first type that the browser records is taken, and none where it records none", () => {
  const check = (/** @type {string[]} */ supported, /** @type {string | null} */ expected) =>
    assert.equal(filmType({ isTypeSupported: (type) => supported.includes(type) }), expected);
  check(["video/webm", "video/webm;codecs=vp9", "video/mp4", "video/mp4;codecs=avc1.42E01F"], "video/mp4;codecs=avc1.42E01F");
  check(["video/webm;codecs=vp9", "video/mp4"], "video/mp4");
  check(["video/webm", "video/webm;codecs=vp8", "video/webm;codecs=vp9"], "video/webm;codecs=vp9");
  check(["video/webm"], "video/webm");
  check([], null);
  assert.equal(filmType(undefined), null);
});

test("a film that is ended is kept whole, with the part that comes last", async () => {
  const { recorder, film, kept } = begin();
  assert.equal(recorder.state, "recording");
  recorder.ondataavailable({ data: new Blob(["one "]) });
  recorder.ondataavailable({ data: new Blob(["two "]) });
  film.end("asked");
  assert.deepEqual(kept, [], "the recorder has more to hand over");
  recorder.finish();
  assert.equal(kept.length, 1);
  assert.equal(await kept[0].file.text(), "one two end");
  assert.equal(kept[0].file.type, "video/webm;codecs=vp9");
  assert.equal(kept[0].ending, "asked");
});

test("each part is handed on as it comes, and all of them make the file", async () => {
  const { recorder, film, kept, parts } = begin();
  recorder.ondataavailable({ data: new Blob(["one "]) });
  assert.equal(parts.length, 1, "before the film ends");
  film.end("asked");
  recorder.finish();
  assert.equal(await new Blob(parts).text(), await kept[0].file.text());
});

test("a film ends by itself when it is as long as it may be", () => {
  const { recorder, film, kept } = begin();
  film.tick(1000 + FILM_MS_MAX - 1);
  assert.equal(recorder.stops, 0);
  film.tick(1000 + FILM_MS_MAX);
  film.tick(1000 + FILM_MS_MAX + 16);
  assert.equal(recorder.stops, 1);
  recorder.finish();
  assert.equal(kept[0].ending, "too long");
});

test("a film ends by itself before it is larger than it may be, with room for its last part", () => {
  const { recorder, kept } = begin();
  recorder.last = part(1e6);
  let bytes = recorder.last.size;
  for (; recorder.stops === 0; bytes += 1e6) recorder.ondataavailable({ data: part(1e6) });
  recorder.finish();
  assert.ok(bytes > 0.98 * FILM_BYTES_MAX && bytes <= FILM_BYTES_MAX, `${bytes}`);
  assert.equal(kept[0].ending, "too large");
});

test("the first reason to end a film counts, and it is kept once", () => {
  const { recorder, film, kept } = begin();
  film.end("asked");
  film.end("session over");
  film.tick(1e9);
  recorder.ondataavailable({ data: new Blob(["more"]) });
  assert.equal(recorder.stops, 1);
  recorder.finish();
  film.end("too long");
  assert.deepEqual(kept.map(({ ending }) => ending), ["asked"]);
});

test("what a recorder that fails has handed over is kept", async () => {
  const { recorder, film, kept } = begin();
  recorder.ondataavailable({ data: new Blob(["half "]) });
  recorder.finish();
  film.end("session over");
  assert.equal(recorder.stops, 0, "it has stopped by itself");
  assert.equal(kept[0].ending, "failed");
  assert.equal(await kept[0].file.text(), "half end");
});

test("a film that ended as the visitor wished needs no words, and one that did not has its reason", () => {
  assert.equal(endingSentence("asked", 1), null);
  assert.equal(endingSentence("session over", 1), null);
  assert.match(endingSentence("too long", 1) ?? "", /10 minutes.*saved/);
  assert.match(endingSentence("too large", 1) ?? "", /256 MB.*saved/);
  assert.match(endingSentence("failed", 1) ?? "", /stopped.*saved/);
  for (const ending of /** @type {const} */ (["asked", "session over", "failed"])) {
    assert.match(endingSentence(ending, 0) ?? "", /Nothing was recorded/);
  }
});

test("the button says the bounds that hold", () => {
  for (const { record_title: title } of [EN, ZH]) {
    assert.ok(title.includes(` ${FILM_MS_MAX / 60_000} `) && title.includes(`${FILM_BYTES_MAX / 1e6} MB`), title);
  }
});

test("a file is named after the world and the visitor's time, and ends as what it is", () => {
  const at = new Date(2026, 0, 31, 23, 5, 9);
  assert.equal(fileName("pocket-v1", at, "video/webm;codecs=vp9"), "causeway-pocket-v1-20260131-230509.webm");
  assert.equal(fileName("robbyant/a world", at, "video/mp4"), "causeway-robbyant-a-world-20260131-230509.mp4");
});

test("small worlds are filmed enlarged by a whole factor, large ones as they are", () => {
  const check = (/** @type {number} */ width, /** @type {number} */ height, /** @type {number} */ scale) =>
    assert.equal(filmScale({ width, height }), scale);
  check(96, 64, 11);
  check(320, 192, 3);
  check(64, 480, 1);
  check(640, 360, 2);
  check(832, 480, 1);
  check(3840, 2160, 1);
});

test("a time is minutes and seconds", () => {
  for (const [ms, text] of /** @type {const} */ ([[0, "0:00"], [999, "0:00"], [65_000, "1:05"], [600_000, "10:00"]])) {
    assert.equal(timeText(ms), text);
  }
});
