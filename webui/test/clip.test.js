import assert from "node:assert/strict";
import { test } from "node:test";
import { makeFilm, pollMs, progressText, refusal } from "../src/clip.js";

const PAGE = "http://host/world/";
const wish = { prompt: "a meadow", seconds: 2.5, size: "96x64", seed: 7, script: "w*10", picture: null };
const job = { id: "one", status: "queued", progress: 0, queue_position: 1, ignored: [], error: null };

/** A server that gives these answers in turn, and notes what it was asked. @param {(Response | Error)[]} answers */
function server(answers) {
  /** @type {{ method: string, url: string, body: any, key: string | null }[]} */
  const asked = [];
  /** @type {number[]} */
  const slept = [];
  return {
    asked,
    slept,
    net: {
      fetch: async (/** @type {any} */ url, /** @type {any} */ request) => {
        asked.push({ method: request.method ?? "GET", url, body: request.body, key: request.headers.Authorization ?? null });
        if (request.method === "DELETE") return new Response("{}");
        const answer = answers.shift();
        if (!(answer instanceof Response)) throw answer;
        return answer;
      },
      sleep: async (/** @type {number} */ ms) => void slept.push(ms),
    },
  };
}

/** @param {object} more @param {Record<string, string>} [headers] */
const told = (more, headers) => new Response(JSON.stringify({ ...job, ...more }), { headers });
const never = new AbortController().signal;

test("a film is asked for as a form, waited for as the server says, and fetched", async () => {
  const { net, asked, slept } = server([
    told({}, { "openai-poll-after-ms": "300" }),
    told({ status: "in_progress", progress: 40, queue_position: null }),
    told({ status: "completed", progress: 100 }),
    new Response("the film", { headers: { "content-type": "video/mp4" } }),
  ]);
  /** @type {number[]} */
  const seen = [];
  const picture = new Uint8Array([1, 2, 3]);
  const film = await makeFilm(PAGE, "cw-key", { ...wish, picture }, ({ progress }) => void seen.push(progress), never, net);
  assert.equal(await film.file.text(), "the film");
  assert.equal(film.job.status, "completed");
  assert.deepEqual(seen, [0, 40, 100]);
  assert.deepEqual(slept, [300, 1000]);
  assert.deepEqual(asked.map(({ method, url }) => `${method} ${url}`), [
    "POST http://host/world/v1/videos",
    "GET http://host/world/v1/videos/one",
    "GET http://host/world/v1/videos/one",
    "GET http://host/world/v1/videos/one/content",
  ]);
  assert.ok(asked.every(({ key }) => key === "Bearer cw-key"));
  const { input_reference: sent, ...fields } = Object.fromEntries(asked[0].body);
  assert.deepEqual(fields, { prompt: "a meadow", seconds: "2.5", size: "96x64", seed: "7", camera_actions: "w*10" });
  assert.deepEqual(new Uint8Array(await sent.arrayBuffer()), picture);
});

test("an empty script, no picture and no key are not sent", async () => {
  const { net, asked } = server([told({ status: "completed" }), new Response("")]);
  await makeFilm(PAGE, null, { ...wish, script: "" }, () => {}, never, net);
  assert.deepEqual([...asked[0].body.keys()], ["prompt", "seconds", "size", "seed"]);
  assert.equal(asked[0].key, null);
});

test("a film that fails, or is refused, says why", async () => {
  /** @param {(Response | Error)[]} answers @param {RegExp} expected */
  const check = async (answers, expected) => {
    await assert.rejects(makeFilm(PAGE, null, wish, () => {}, never, server(answers).net), expected);
  };
  await check([told({ status: "failed", error: { message: "Model generation failed" } })], /The film failed: Model generation failed\.$/);
  await check([told({ status: "failed" })], /does not say why/);
  await check([new Response('{"error":{"message":"seconds must be positive"}}', { status: 400 })], /The server says: seconds must be positive\.$/);
  await check([told({}), new Response('{"error":{"message":"Video not found"}}', { status: 404 })], /forgotten this film/);
  await check([new TypeError("Failed to fetch")], /Failed to fetch/);
});

test("a film that is cancelled ends on the server, too", async () => {
  const end = new AbortController();
  const { net, asked } = server([told({}), told({ status: "in_progress", progress: 10 }), told({})]);
  const made = makeFilm(PAGE, null, wish, ({ progress }) => progress === 10 && end.abort(), end.signal, net);
  await assert.rejects(made, { name: "AbortError" });
  assert.deepEqual(asked.map(({ method }) => method), ["POST", "GET", "DELETE"]);
  assert.equal(asked[2].url, "http://host/world/v1/videos/one");
});

test("a film that is done is not deleted by a later cancel", async () => {
  const end = new AbortController();
  const { net, asked } = server([told({ status: "completed" }), new Response("")]);
  await makeFilm(PAGE, null, wish, () => {}, end.signal, net);
  end.abort();
  assert.deepEqual(asked.map(({ method }) => method), ["POST", "GET"]);
});

test("a visitor hears in plain words what a server cannot do", () => {
  const check = (/** @type {number} */ status, /** @type {any} */ body, /** @type {string | null} */ retry, /** @type {RegExp} */ expected) =>
    assert.match(refusal(status, body, retry), expected);
  const said = (/** @type {string} */ message) => ({ error: { message } });
  check(401, said("no key"), null, /asks for a key.*Start/);
  check(501, said("encoder_unavailable"), null, /without a video encoder/);
  check(429, said("queue_full"), "12", /Try again in 12 seconds\./);
  check(429, null, null, /Try again later\./);
  check(404, null, null, /older than this page/);
  check(404, said("Video not found"), null, /forgotten/);
  check(400, said("prompt is required"), null, /^The server says: prompt is required\.$/);
  check(502, null, null, /^The server answered 502\.$/);
});

test("the time between two questions is the server's, within bounds", () => {
  assert.deepEqual(["250", "5000", "60000", "0", "-1", "soon", null].map((said) => pollMs(said)), [250, 5000, 5000, 1000, 1000, 1000, 1000]);
});

test("progress is told as a visitor would", () => {
  const text = (/** @type {object} */ more) => progressText({ ...job, ...more });
  assert.equal(text({ queue_position: 3 }), "Waiting: number 3 in line");
  assert.equal(text({ queue_position: 1 }), "Waiting: next in line");
  assert.equal(text({ queue_position: null }), "Waiting for its turn");
  assert.equal(text({ status: "in_progress", progress: 42 }), "Drawing: 42 %");
  assert.equal(text({ status: "completed", progress: 100 }), "Done.");
});
