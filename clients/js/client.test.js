// The client against a real server, a line that is cut, and a server that has none of our features. `clients/check.py` starts
// them and says where they are.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { Client, Ended } from "../../webui/src/client.js";

const { CAUSEWAY_URL: SERVER, CUT_URL: CUT, REFERENCE_URL: REFERENCE } = process.env;
const SMALL = { prompt: "a meadow", size: { width: 96, height: 64 }, fps: 16, format: "raw", paced: false };

async function frames(client) {
  const all = [];
  for await (const { pieces } of client) all.push(...pieces);
  return all;
}

test("a client gives every picture once and in order, and ends with the last chunk", async () => {
  const client = new Client(SERVER, { ...SMALL, maxChunks: 3 });
  const all = await frames(client);
  assert.equal(all.length, 33);
  assert.ok(all.every((frame) => frame.length === 96 * 64 * 3));
  assert.equal(client.begun?.features.includes("ack"), true);
});

test("a receipt says which chunk shows an event, and which event was replaced", async () => {
  const client = new Client(SERVER, SMALL);
  const held = client.hold(["w"]);
  for await (const { eventId, chunk } of client) {
    if (eventId !== held) continue;
    const { firstFrame, ...receipt } = await client.receipt(held);
    assert.deepEqual(receipt, { eventId: held, chunk, superseded: false });
    assert.ok(firstFrame >= 0);
    break;
  }
  const again = new Client(SERVER, SMALL);
  const [first, second] = [again.prompt("by night"), again.prompt("by day")];
  for await (const { eventId } of again) if (eventId === second) break;
  assert.deepEqual([(await again.receipt(first)).superseded, (await again.receipt(second)).superseded], [true, false]);
});

test("rates and poses lead the camera, and a pose that is none is refused by its name", async () => {
  const client = new Client(SERVER, SMALL);
  const led = client.rates({ forward: 0.5, yaw: -0.25 });
  const wrong = client.receipt(client.pose(new Array(16).fill(2)));
  for await (const { eventId } of client) if (eventId >= led) break;
  assert.ok((await client.receipt(led)).firstFrame >= 0);
  await assert.rejects(wrong, /pose/i);
});

test("a video goes back, and begins again in its session, with the same pictures", async () => {
  const turns = [];
  const news = (message) => message.kind === "timeline" && turns.push(message);
  const client = new Client(SERVER, { ...SMALL, features: ["reset", "rewind"] }, news);
  const asks = [() => client.rewind({ chunk: 1 }), () => client.reset({ seed: 42 })];
  const chunks = [];
  for await (const { chunk, pieces } of client) {
    (chunks[chunk] ??= []).push(...pieces);
    if (chunk >= 3 && turns.length + asks.length === 2) asks.shift()?.();
    if (turns.length === 2 && chunk > turns[1].chunk) break;
  }
  assert.deepEqual(turns.map(({ place }) => place), [1, 0]);
  for (const { chunk, place } of turns) {
    assert.ok(chunks[chunk].every((picture, index) => Buffer.compare(picture, chunks[place][index]) === 0), `chunk ${place} again`);
  }
});

test("a token lets others watch the same pictures, and a viewer cannot steer", async () => {
  let token;
  const shared = new Promise((resolve) => (token = resolve));
  const player = new Client(SERVER, { ...SMALL, format: "jpeg", paced: true }, (news) => {
    if (news.kind === "shared") token(news.token);
  });
  const mine = new Map();
  const playing = (async () => {
    for await (const { chunk, batch, pieces } of player) mine.set(`${chunk} ${batch}`, pieces);
  })();
  while (mine.size === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  player.share("view");
  const viewer = new Client(SERVER, { watch: await shared });
  const seen = [];
  for await (const pictures of viewer) {
    seen.push(pictures);
    if (seen.length === 1) await assert.rejects(viewer.receipt(viewer.hold(["w"])), /a viewer cannot/);
    if (seen.length === 4) break;
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  player.close();
  await playing;
  for (const { chunk, batch, pieces } of seen) {
    pieces.forEach((piece, at) => assert.equal(Buffer.compare(piece, mine.get(`${chunk} ${batch}`)[at]), 0));
  }
});

test("a session goes on after its line was cut, with the same pictures", async () => {
  const whole = await frames(new Client(SERVER, { ...SMALL, maxChunks: 4 }));
  const client = new Client(CUT, { ...SMALL, maxChunks: 4 });
  const all = await frames(client);
  assert.ok(client.resumes >= 1);
  assert.equal(all.length, 45);
  assert.ok(all.every((frame, index) => Buffer.compare(frame, whole[index]) === 0));
});

test("a mistake ends a session with a sentence that names the field", async () => {
  await assert.rejects(frames(new Client(SERVER, { ...SMALL, fps: 25.5 })), (error) => error instanceof Ended && /fps: must be an integer/i.test(error.message));
});

test("a server that is not there ends it too", async () => {
  await assert.rejects(frames(new Client("ws://127.0.0.1:9/v1/realtime_video", SMALL)), Ended);
});

test("a server without any feature is walked in as well", async () => {
  const heard = [];
  const client = new Client(REFERENCE, { ...SMALL, maxChunks: 6 }, (message) => heard.push(message));
  const held = client.hold(["w"]);
  const reds = new Map();
  for await (const { chunk, pieces } of client) reds.set(chunk, pieces.at(-1)[0]);
  const { chunk } = await client.receipt(held);
  assert.equal(reds.get(chunk), 40);
  assert.deepEqual([...new Set(heard.map(({ kind }) => kind))], ["stats"]);
});

test("an event that such a server does not know changes nothing", async () => {
  const heard = [];
  const client = new Client(REFERENCE, { ...SMALL, maxChunks: 6 }, (message) => {
    if (heard.length === 0) client.pause();
    heard.push(message);
  });
  assert.equal((await frames(client)).length, 69);
  assert.equal(heard.find(({ kind }) => kind === "error")?.content, "invalid event");
});

test("the example runs against both servers", async () => {
  for (const url of [SERVER, REFERENCE]) {
    const { stdout } = await promisify(execFile)(process.execPath, ["--experimental-websocket", "example.js", url], { cwd: import.meta.dirname });
    assert.match(stdout, /pictures of \d+ bytes/);
  }
});
