import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "../src/msgpack.js";
import { clockEvent, closeSentence, errorSentence, Incoming, init, keysEvent, ledEvent, pauseEvent, promptEvent, RAW, resetEvent, resume, rewindEvent, standingText, watch } from "../src/protocol.js";

const raw = {
  request_id: "r", chunk_index: 4, content_type: RAW, num_frames: 2, total_size: 12, frame_batch_index: 0,
  num_frame_batches: 1, is_final_frame_batch: true, event_id: 7, format: "rgb24", width: 2, height: 1, channels: 3,
  bytes_per_frame: 6, raw_size: 12, encoding: "raw",
};
const jpeg = {
  request_id: "r", chunk_index: 5, content_type: "image/jpeg", num_frames: 3, total_size: 6, frame_batch_index: 0,
  num_frame_batches: 2, is_final_frame_batch: false, width: 2, height: 1, payload_lengths: [1, 2, 3],
};
const bytes = (/** @type {number} */ length) => Uint8Array.from({ length }, (_, i) => i);

test("pictures come in one message", () => {
  const got = new Incoming().receive(encode({ type: "frame_batch", ...raw, payload: bytes(12) }));
  assert.deepEqual(got, {
    kind: "pictures", chunk: 4, eventId: 7, width: 2, height: 1, contentType: RAW,
    pieces: [bytes(12).subarray(0, 6), bytes(12).subarray(6)], batch: 0, keyFrames: [],
  });
});

test("pictures come in two messages, and the second is not MessagePack", () => {
  const incoming = new Incoming();
  assert.equal(incoming.receive(encode({ type: "frame_batch_header", ...jpeg })), null);
  const got = incoming.receive(bytes(6));
  assert.equal(got?.kind, "pictures");
  assert.deepEqual(got.pieces.map((piece) => [...piece]), [[0], [1, 2], [3, 4, 5]]);
  assert.equal(got.eventId, null);
  // And then MessagePack again.
  assert.equal(incoming.receive(encode({ type: "error", content: "x" }))?.kind, "error");
});

test("a message of an unknown type is passed by and breaks nothing", () => {
  const incoming = new Incoming();
  assert.deepEqual(incoming.receive(encode({ type: "queue_position", position: 3 })), {
    kind: "unknown", type: "queue_position",
  });
  assert.equal(incoming.receive(encode({ type: "frame_batch", ...raw, payload: bytes(12) }))?.kind, "pictures");
  assert.equal(incoming.receive(encode([1, 2]))?.kind, "unknown");
});

test("pictures that are not what was announced are refused", () => {
  const check = (/** @type {object} */ header, /** @type {unknown} */ payload, /** @type {RegExp} */ said) =>
    assert.throws(() => new Incoming().receive(encode({ type: "frame_batch", ...header, payload })), said);
  check(raw, bytes(11), /12 bytes were announced and 11 came/);
  check(raw, "text", /without their bytes/);
  check({ ...raw, width: 3 }, bytes(12), /add up to 18, not to 12/);
  check({ ...jpeg, payload_lengths: [1, 2] }, bytes(6), /3 pictures were announced/);
  check({ ...jpeg, payload_lengths: [1, 2, 4] }, bytes(6), /add up to 7, not to 6/);
  check({ ...jpeg, payload_lengths: undefined }, bytes(6), /not with one length each/);
});

test("statistics have the parts a server knows, and null for those it does not", () => {
  const message = {
    type: "chunk_stats", session_id: "s", request_id: "r", chunk_index: 2, event_id: null, request_prepare_ms: 1,
    scheduler_forward_ms: 100, pace_wait_ms: 50, header_write_ms: 1, raw_payload_build_ms: 9, raw_write_ms: 2,
    ws_write_ms: 3, chunk_total_ms: 163, num_batches: 1, num_frames: 12, raw_bytes: 72, ws_payload_bytes: 99,
    content_type: RAW,
  };
  const ms = { total: 163, generate: 100, wait: 50, encode: 9, write: 3, text: null, dit: null, vae: null };
  const expected = { kind: "stats", chunk: 2, eventId: null, frames: 12, bytes: 99, ms };
  assert.deepEqual(new Incoming().receive(encode(message)), expected);
  assert.deepEqual(new Incoming().receive(encode({ ...message, dit_ms: 70, vae_ms: 30, text_ms: 0 })), {
    ...expected, ms: { ...ms, dit: 70, vae: 30, text: 0 },
  });
});

test("an error says what was wrong with which field", () => {
  const check = (/** @type {object} */ message, /** @type {string} */ sentence) => {
    const error = new Incoming().receive(encode({ type: "error", ...message }));
    assert.equal(error?.kind, "error");
    assert.equal(errorSentence(error), sentence);
  };
  check({ content: "invalid event" }, "The server could not use the last input.");
  check(
    { content: "invalid generate request", code: "invalid_init", details: { field: "first_frame", reason: "not a picture" } },
    "The world cannot start like this. First frame: not a picture.",
  );
  check({ content: "error during generate loop: out of luck" }, "The world stopped: out of luck.");
  check({ content: "new kind of trouble", details: { reason: "none" } }, "new kind of trouble. None.");
  check({}, ".");
});

test("one that waits is told where it stands, and for how long once that is known", () => {
  const check = (/** @type {object} */ message, /** @type {string} */ short, /** @type {string} */ sentence) => {
    const standing = new Incoming().receive(encode({ type: "queue", ...message }));
    assert.equal(standing?.kind, "queue");
    assert.deepEqual(standingText(standing), { short, sentence });
  };
  check({ position: 1 }, "next", "Every place is taken. You are next.");
  check({ position: 3, estimated_wait_ms: 29_600 }, "number 3, about 30 s", "Every place is taken. 2 ahead of you, about 30 s.");
  check({ position: 2, estimated_wait_ms: 3 }, "number 2, about 1 s", "Every place is taken. 1 ahead of you, about 1 s.");
  check({ position: 1, estimated_wait_ms: 150_000 }, "next, about 3 min", "Every place is taken. You are next, about 3 min.");
  check({ position: 2, reason: "time" }, "number 2", "The processor is busy with the walks of others. 1 ahead of you.");
  check({ position: 1, reason: "sessions" }, "next", "Every place is taken. You are next.");
  check({ position: 1, reason: "a reason from the future" }, "next", "Every place is taken. You are next.");
});

test("a close code becomes a sentence, and the reason is not lost", () => {
  assert.equal(closeSentence(1000, "generation complete"), "The video is complete.");
  assert.match(closeSentence(1006, ""), /connection was lost/);
  assert.equal(closeSentence(1011, "the model failed"), "The server failed: the model failed.");
  assert.equal(closeSentence(4321, "because"), "The server closed the connection (code 4321): because.");
});

test("what is sent has the reference's shape", () => {
  const start = {
    prompt: "p", firstFrame: bytes(3), size: { width: 96, height: 64 }, fps: 16, seed: 7,
    format: /** @type {const} */ ("raw"),
  };
  assert.deepEqual(decode(encode(init(start))), {
    type: "init", prompt: "p", first_frame: bytes(3), size: "96x64", fps: 16, seed: 7,
    realtime_output_format: "raw", realtime_output_pacing: true, protocol_features: ["queue", "session", "ack", "pause", "key_frame", "rates", "receipts", "rewind", "reset", "recording", "spectators", "unknown_words", "moved"],
  });
  assert.equal(decode(encode(init({ ...start, key: "cwk_1" }))).api_key, "cwk_1");
  const encoded = decode(encode(init({ ...start, firstFrame: null, format: "webp" })));
  assert.ok(!("first_frame" in encoded) && encoded.output_compression > 0);
  assert.deepEqual(keysEvent(3, [{ actions: ["w"], at: 10.6 }, { actions: [], at: 20 }]), {
    type: "event", kind: "camera_actions", event_id: 3,
    payload: {
      mode: "state", transitions: [{ actions: ["w"], client_ts_ms: 11 }, { actions: [], client_ts_ms: 20 }],
    },
  });
  assert.deepEqual(decode(encode(pauseEvent("resume"))), { type: "event", kind: "resume" });
  assert.deepEqual(promptEvent(4, "snow"), { type: "event", kind: "prompt", event_id: 4, payload: "snow" });
});

test("a session says how to come back, and a resume asks for what comes after the last whole chunk", () => {
  const hello = { type: "session", session_id: "s", resume_token: "t", grace_ms: 30000, next_chunk: 0 };
  assert.deepEqual(new Incoming().receive(encode(hello)), { kind: "session", token: "t", graceMs: 30000 });
  assert.deepEqual(decode(encode(resume("t", 7, null))), { type: "resume", token: "t", last_chunk: 7 });
  assert.deepEqual(decode(encode(resume("t", null, "k"))), { type: "resume", token: "t", api_key: "k" });
});

test("rates are said as they are, and hurry only with an id", () => {
  const rates = { forward: 0.5, strafe: 0, yaw: -1, pitch: 0 };
  const payload = { mode: "state", transitions: [{ rates }] };
  assert.deepEqual(ledEvent(7, { rates }), { type: "event", kind: "camera_actions", event_id: 7, payload });
  assert.deepEqual(ledEvent(null, { rates }), { type: "event", kind: "camera_actions", payload });
});

test("a receipt names the event that has come", () => {
  const incoming = new Incoming();
  assert.deepEqual(incoming.receive(encode({ type: "event_received", event_id: 3, received_ms: 1.5 })), { kind: "received", eventId: 3, at: 1.5 });
  assert.deepEqual(incoming.receive(encode({ type: "event_received", received_ms: 1.5 })), { kind: "received", eventId: null, at: 1.5 });
});

test("the server's clock is asked for with the page's own time, and answers with both", () => {
  assert.deepEqual(clockEvent(-12.25).payload, { client_ms: -12.25 });
  const answer = { type: "clock", client_ms: -12.25, received_ms: 2, sent_ms: 2.25, next_frame_ms: 312.5 };
  assert.deepEqual(new Incoming().receive(encode(answer)), { kind: "clock", clientMs: -12.25, receivedMs: 2, sentMs: 2.25 });
});

test("a walk goes on from the end of a recording, whose beginning is not said again", () => {
  const start = { prompt: "p", firstFrame: bytes(3), size: { width: 96, height: 64 }, seed: 7, format: /** @type {const} */ ("raw") };
  const fromFile = decode(encode(init({ ...start, recording: { file: bytes(5) } })));
  assert.deepEqual(fromFile.recording, { file: bytes(5), show: false });
  for (const name of ["prompt", "first_frame", "size", "seed"]) assert.ok(!(name in fromFile), name);
  assert.deepEqual(decode(encode(init({ ...start, recording: { session: "s-2" } }))).recording, { session_id: "s-2", show: false });
});

test("a way back and another video are asked for, and a timeline says where they are", () => {
  assert.deepEqual(rewindEvent({ seconds: 5 }), { type: "event", kind: "rewind", payload: { seconds: 5 } });
  const beginning = { prompt: "snow", seed: 3, size: { width: 96, height: 64 }, firstFrame: /** @type {const} */ (false) };
  assert.deepEqual(decode(encode(resetEvent(beginning, 9))), {
    type: "event", kind: "reset", event_id: 9, payload: { prompt: "snow", seed: 3, size: "96x64", first_frame: false },
  });
  assert.deepEqual(decode(encode(resetEvent({}))), { type: "event", kind: "reset", payload: {} });
  const timeline = { type: "timeline", chunk_index: 12, video_chunk: 0, first_frame_index: 0, event_id: 9 };
  assert.deepEqual(new Incoming().receive(encode(timeline)), { kind: "timeline", chunk: 12, place: 0, eventId: 9, size: null });
  const toViewer = { ...timeline, event_id: undefined, width: 96, height: 64 };
  assert.deepEqual(new Incoming().receive(encode(toViewer)), { kind: "timeline", chunk: 12, place: 0, eventId: null, size: { width: 96, height: 64 } });
});

test("a viewer names a token, and a form where it wants another than the player's", () => {
  assert.deepEqual(decode(encode(watch("cwv_t"))), { type: "watch", token: "cwv_t" });
  assert.deepEqual(decode(encode(watch("cwv_t", "jpeg"))), {
    type: "watch", token: "cwv_t", realtime_output_format: "jpeg", output_compression: 92,
  });
});

test("what is said of viewers is read", () => {
  const read = (/** @type {object} */ message) => new Incoming().receive(encode(message));
  assert.deepEqual(read({ type: "stage", player: "away", paused: true, camera: 0, prompt: 3 }), {
    kind: "stage", here: false, paused: true, camera: 0, prompt: 3,
  });
  assert.deepEqual(read({ type: "skipped", chunks: 2, next_chunk: 9 }), { kind: "skipped", chunks: 2, nextChunk: 9 });
  assert.deepEqual(read({ type: "shared", share_id: 1, role: "view", token: "cwv_t" }), { kind: "shared", shareId: 1, role: "view", token: "cwv_t" });
  assert.deepEqual(read({ type: "viewers", count: 2, camera: 3, prompt: 0, guests: [{ viewer_id: 3, role: "control", share_id: 2 }] }), {
    kind: "viewers", count: 2, camera: 3, prompt: 0, guests: [{ viewerId: 3, role: "control", shareId: 2 }],
  });
});
