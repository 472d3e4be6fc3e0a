import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode, Ext } from "../src/msgpack.js";

/** Bytes from hex, spaces ignored. @param {string} text */
const hex = (text) => Uint8Array.from(text.replace(/\s/g, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
/** @param {Uint8Array} bytes */
const toHex = (bytes) => Buffer.from(bytes).toString("hex");

/** The value and its bytes are each other's image. @param {any} value @param {string} bytes */
function check(value, bytes) {
  assert.equal(toHex(encode(value)), bytes.replace(/\s/g, ""), `encode ${String(value).slice(0, 40)}`);
  assert.deepEqual(decode(hex(bytes)), value, `decode ${bytes.slice(0, 40)}`);
}

test("the wire's example messages have the reference's bytes", () => {
  check(
    { type: "init", prompt: "p", size: "2x2", max_chunks: 1, seed: 7 },
    `85 a4 74797065 a4 696e6974  a6 70726f6d7074 a1 70  a4 73697a65 a3 327832
     aa 6d61785f6368756e6b73 01  a4 73656564 07`,
  );
  check(
    {
      type: "event",
      kind: "camera_actions",
      payload: { mode: "state", transitions: [{ actions: ["w"], client_ts_ms: 1234 }] },
      event_id: 1,
    },
    `84 a4 74797065 a5 6576656e74  a4 6b696e64 ae 63616d6572615f616374696f6e73
     a7 7061796c6f6164 82 a4 6d6f6465 a5 7374617465
     ab 7472616e736974696f6e73 91 82 a7 616374696f6e73 91 a1 77  ac 636c69656e745f74735f6d73 cd 04d2
     a8 6576656e745f6964 01`,
  );
  check(
    { type: "error", content: "invalid event" },
    "82 a4 74797065 a5 6572726f72  a7 636f6e74656e74 ad 696e76616c6964206576656e74",
  );
});

test("an integer takes its smallest form", () => {
  check(0, "00");
  check(127, "7f");
  check(128, "cc80");
  check(255, "ccff");
  check(256, "cd0100");
  check(65535, "cdffff");
  check(65536, "ce00010000");
  check(2 ** 32 - 1, "ceffffffff");
  check(2 ** 32, "cf0000000100000000");
  check(-1, "ff");
  check(-32, "e0");
  check(-33, "d0df");
  check(-128, "d080");
  check(-129, "d1ff7f");
  check(-32769, "d2ffff7fff");
  check(-(2 ** 31) - 1, "d3ffffffff7fffffff");
});

test("a 64-bit integer is a Number where that is exact and a BigInt where it is not", () => {
  check(Number.MAX_SAFE_INTEGER, "cf001fffffffffffff");
  check(Number.MIN_SAFE_INTEGER, "d3ffe0000000000001");
  check(2n ** 64n - 1n, "cfffffffffffffffff");
  check(-(2n ** 63n), "d38000000000000000");
  assert.throws(() => encode(2n ** 64n), /does not fit 64 bits/);
  assert.throws(() => encode(-(2n ** 63n) - 1n), /does not fit 64 bits/);
});

test("floats, nil and booleans", () => {
  check(1.5, "cb3ff8000000000000");
  check(null, "c0");
  check(true, "c3");
  check(false, "c2");
  assert.equal(decode(hex("ca3fc00000")), 1.5);
  assert.equal(decode(hex("cb40f0000000000000")), 65536);
  assert.ok(Number.isNaN(decode(encode(NaN))));
});

test("every width of strings, binaries, arrays, maps and extensions comes back as it went", () => {
  for (const length of [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536]) {
    for (const value of [
      "é".repeat(length),
      new Uint8Array(length).fill(7),
      new Array(length).fill(1),
      Object.fromEntries(Array.from({ length }, (_, i) => [`k${i}`, i])),
      new Ext(-3, new Uint8Array(length).fill(9)),
    ]) {
      assert.deepEqual(decode(encode(value)), value);
    }
  }
  assert.equal(toHex(encode(new Ext(5, hex("01020304")))), "d60501020304");
  assert.equal(toHex(encode(new Array(16).fill(0)).slice(0, 3)), "dc0010");
});

test("an undefined value is left out of its map", () => {
  check({ a: 1 }, "81a16101");
  assert.deepEqual(decode(encode({ a: 1, b: undefined })), { a: 1 });
});

test("a key named __proto__ is only a key", () => {
  const value = decode(hex("81 a9 5f5f70726f746f5f5f 81 a1 61 01"));
  assert.deepEqual(Object.keys(value), ["__proto__"]);
  assert.equal(value.a, undefined);
});

test("a binary value is a view into the message, wherever that lies in its buffer", () => {
  const message = encode({ payload: hex("0a0b0c") });
  const padded = new Uint8Array(message.length + 8);
  padded.set(message, 8);
  const { payload } = decode(padded.subarray(8));
  assert.deepEqual(payload, hex("0a0b0c"));
  assert.equal(payload.buffer, padded.buffer);
});

test("a message cut anywhere says that it was cut", () => {
  const message = encode({
    type: "frame_batch", sizes: [1, 300, 70000, 2 ** 40, -5, -500, 1.5], text: "x".repeat(40),
    payload: new Uint8Array(300), flag: true, extension: new Ext(1, new Uint8Array(5)),
  });
  for (let length = 0; length < message.length; length++) {
    assert.throws(() => decode(message.subarray(0, length)), /truncated/, `cut at ${length}`);
  }
});

test("a length that cannot be true is refused without allocating for it", () => {
  for (const bytes of ["dd ffffffff", "df ffffffff 00", "c6 ffffffff 00", "db ffffffff", "c9 ffffffff 01"]) {
    assert.throws(() => decode(hex(bytes)), /truncated/, bytes);
  }
});

test("what is not one well-formed value is refused", () => {
  assert.throws(() => decode(hex("01 02")), /1 bytes left over/);
  assert.throws(() => decode(hex("c1")), /c1 begins no value/);
  assert.throws(() => decode(hex("a1 ff")), TypeError);
  assert.throws(() => decode(new Uint8Array(1000).fill(0x91)), /nested more than/);
  assert.throws(() => encode(() => 1), /function has no encoding/);
});
