import assert from "node:assert/strict";
import { test } from "node:test";
import { mp4, webm, withLength } from "../src/film_length.js";

/** @param {...(number | number[] | string)} parts text, bytes, and numbers of four bytes */
const bytes = (...parts) => Uint8Array.from(parts.flatMap((part) =>
  typeof part === "string" ? [...part].map((character) => character.charCodeAt(0))
  : typeof part === "number" ? [part >>> 24, (part >>> 16) & 255, (part >>> 8) & 255, part & 255] : part));
/** @param {string} type @param {...Uint8Array} inside */
const box = (type, ...inside) => {
  const length = inside.reduce((sum, part) => sum + part.length, 8);
  return Uint8Array.from([...bytes(length, type), ...inside.flatMap((part) => [...part])]);
};
/** A film's head as Chromium writes it: boxes of version 1, no length. */
const HEAD = Uint8Array.from([
  ...box("ftyp", bytes("isom")),
  ...box("moov",
    box("mvhd", bytes(0x01000000, 0, 9, 0, 9, 1000, 0, 0, 0x10000)),
    box("trak", box("tkhd", bytes(0x01000003, 0, 9, 0, 9, 1, 0, 0, 0, 7)),
      box("mdia", box("mdhd", bytes(0x01000000, 0, 9, 0, 9, 30000, 0, 31925, 0x55c40000)), box("hdlr", bytes("vide")))),
    box("mvex", box("trex", bytes(0, 1)))),
]);
const MOOF = bytes(400, "moof", 1, 2, 3);

/** Where a box is. @param {Uint8Array} film @param {string} type */
const at = (film, type) => Buffer.from(film).indexOf(type) - 4;

test("an MP4 says its length wherever a player looks, in the clock of each place, and the rest is as it was", () => {
  const film = mp4(Uint8Array.from([...HEAD, ...MOOF]), 5113);
  assert.ok(film);
  const view = new DataView(film.buffer);
  assert.equal(view.getBigUint64(at(film, "mvhd") + 32), 5113n);
  assert.equal(view.getBigUint64(at(film, "tkhd") + 36), 5113n);
  assert.equal(view.getBigUint64(at(film, "mdhd") + 32), 153390n);
  assert.equal(view.getBigUint64(at(film, "mehd") + 12), 5113n);
  assert.equal(view.getUint32(at(film, "moov")), HEAD.length - 12 + 20);
  assert.equal(view.getUint32(at(film, "mvex")), 24 + 20);
  assert.deepEqual(film.subarray(film.length - MOOF.length), MOOF);
  assert.equal(at(film, "moof"), 12 + HEAD.length - 12 + 20);
  // A second time nothing grows.
  assert.equal(mp4(film, 9)?.length, film.length);
});

test("an MP4 of the older boxes says it too", () => {
  const old = Uint8Array.from([...box("ftyp"), ...box("moov", box("mvhd", bytes(0, 9, 9, 600, 0, 7)))]);
  const film = mp4(old, 2000);
  assert.ok(film);
  assert.equal(new DataView(film.buffer).getUint32(at(film, "mvhd") + 24), 1200);
});

const EBML = bytes([0x1a, 0x45, 0xdf, 0xa3, 0x84, 0x42, 0x86, 0x81, 1]);
const SEGMENT = bytes(0x18538067, [1, 255, 255, 255, 255, 255, 255, 255]);
const TICKS = bytes([0x2a, 0xd7, 0xb1, 0x83, 0x0f, 0x42, 0x40]);
const APP = bytes([0x4d, 0x80, 0x82], "Cx");
const TRACKS = bytes([0x16, 0x54, 0xae, 0x6b, 0x82, 1, 2]);
/** @param {...Uint8Array} inside */
const info = (...inside) => bytes(0x1549a966, [0x80 | inside.reduce((sum, { length }) => sum + length, 0)], inside.flatMap((part) => [...part]));
/** @param {...Uint8Array} parts */
const film = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));

test("a WebM gets its length into its description, and the rest is as it was", () => {
  const long = webm(film(EBML, SEGMENT, info(TICKS, APP), TRACKS), 6500);
  assert.ok(long);
  const place = Buffer.from(long).indexOf(Buffer.from([0x44, 0x89, 0x88]));
  assert.equal(new DataView(long.buffer).getFloat64(place + 3), 6500);
  assert.deepEqual(long.subarray(long.length - TRACKS.length), TRACKS);
  assert.deepEqual(long.subarray(0, EBML.length + SEGMENT.length), film(EBML, SEGMENT));
  // A length that is there is replaced.
  assert.equal(webm(long, 7)?.length, long.length);
});

test("a head that is not as browsers write it is left alone", async () => {
  const seekHead = bytes([0x11, 0x4d, 0x9b, 0x74, 0x81, 0]);
  const empty = bytes([0x11, 0x4d, 0x9b, 0x74, 0x80]);
  assert.ok(webm(film(EBML, SEGMENT, empty, info(TICKS)), 1));
  assert.equal(webm(film(EBML, SEGMENT, seekHead, info(TICKS)), 1), null);
  assert.equal(webm(bytes("nothing of the kind"), 1), null);
  assert.equal(webm(new Uint8Array(), 1), null);
  assert.equal(webm(film(EBML, SEGMENT, info(TICKS)).subarray(0, 25), 1), null);
  assert.equal(mp4(bytes("nothing of the kind"), 1), null);
  assert.equal(mp4(new Uint8Array(), 1), null);
  assert.equal(mp4(HEAD.subarray(0, 60), 1), null);
  const strange = new Blob(["strange"], { type: "video/mp4" });
  assert.equal(await withLength(strange, 5), strange);
});

test("a file keeps its type and all that follows its head", async () => {
  const file = new Blob([HEAD, new Uint8Array(200_000).fill(7)], { type: "video/mp4;codecs=avc1" });
  const long = await withLength(file, 1000);
  assert.equal(long.type, file.type);
  assert.equal(long.size, file.size + 20);
});
