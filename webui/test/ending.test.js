import assert from "node:assert/strict";
import { test } from "node:test";
import { closed, foundSentence, lastWord, LINE_LOST, refused } from "../src/ending.js";

/** @param {string} code @returns {import("../src/protocol.js").ServerError} */
const error = (code, content = "another realtime session is already active", reason = null) =>
  ({ kind: "error", content, code, details: { field: null, reason } });

test("without a place the page asks again by itself, and says what is missing", () => {
  const said = ["session_busy", "memory_busy", "device_busy", "queue_full"].map((code) => refused(error(code), false));
  assert.ok(said.every(({ next }) => next === "wait"));
  assert.equal(new Set(said.map(({ said }) => said)).size, 4);
  assert.match(said[2].said, /processor is busy/);
});

test("a server that wants a key is asked for with one sentence that is not for developers", () => {
  const none = refused(error("unauthorized", "a key is needed: as `Authorization: Bearer KEY`, …"), false);
  assert.deepEqual(none, { said: "This server asks for a key.", next: "key" });
  const wrong = refused(error("unauthorized", "this key is not known here"), true);
  assert.deepEqual(wrong, { said: "This key is not known here.", next: "key" });
});

test("a walk that the server does not know can be started again", () => {
  const { said, next } = refused(error("invalid_resume_request", "invalid resume request", "names no session"), true);
  assert.equal(next, "again");
  assert.match(said, /restarted/);
  assert.doesNotMatch(said, /oken/);
});

test("what the visitor filled in and the server refuses is for the visitor to change", () => {
  assert.equal(refused(error("invalid_generate_request", "invalid generate request"), false).next, "fix");
});

test("after a lost line the page looks for the server, and after an end it does not", () => {
  assert.deepEqual(closed(LINE_LOST, "", false, false), { said: "The server does not answer.", next: "look" });
  assert.match(closed(LINE_LOST, "", true, true).said, /this walk with it/);
  assert.equal(closed(1012, "server is shutting down", true, true).next, "look");
  assert.equal(closed(1000, "session idle timeout", true, true).next, "again");
  assert.equal(closed(1008, "too many bytes", true, false).next, "again");
});

test("a server that is there and took no WebSocket is said to be that", () => {
  assert.match(foundSentence("The server does not answer.", false), /proxy/);
  assert.match(foundSentence("It was lost.", true), /^It was lost\. The server is there/);
});

test("an error is a walk's last word only where the server ends the walk with it", () => {
  assert.deepEqual(lastWord(error("resumed_elsewhere", "this session goes on on another connection")),
    { said: "This walk goes on in another window.", next: "again" });
  assert.equal(lastWord(error("generation_error", "error during generate loop: no luck"))?.said, "The world stopped: no luck.");
  assert.equal(lastWord(error("invalid_event", "invalid event")), null);
});
