// A film that the server draws from a prompt: asked for, waited for and fetched over plain HTTP.

import { below } from "./address.js";
import { say } from "./words.js";

/**
 * @typedef {{ prompt: string, seconds: number, size: string, seed: number, script: string, picture: Uint8Array | null }} Wish
 * @typedef {{ id: string, status: string, progress: number, queue_position: number | null, ignored: string[],
 *   error: { message: string } | null }} Job  As the server tells it, with the fields that are used here.
 * @typedef {{ fetch: typeof fetch, sleep: (ms: number) => Promise<void> }} Net
 */

/** How often to ask where the server does not say. */
const POLL_MS = 1000;
const POLL_MS_MAX = 5000;

/** @type {Net} */
const NET = { fetch: (...request) => fetch(...request), sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)) };

/**
 * Ask for a film and wait until it is drawn.
 * @param {string} page the page's own address @param {string | null} key @param {Wish} wish
 * @param {(job: Job) => void} told called with every state of the job
 * @param {AbortSignal} signal ends the work on the server, too
 * @param {Net} [net]
 * @returns {Promise<{ file: Blob, job: Job }>}
 * @throws a sentence; once `signal` is aborted, anything
 */
export async function makeFilm(page, key, wish, told, signal, net = NET) {
  /** @type {Record<string, string>} */
  const headers = key === null ? {} : { Authorization: `Bearer ${key}` };
  /** @param {string} path @param {RequestInit} [more] */
  const ask = async (path, more) => {
    const response = await net.fetch(below(path, page), { headers, cache: "no-store", ...more });
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    throw new Error(refusal(response.status, body, response.headers.get("retry-after")));
  };
  let response = await ask("/v1/videos", { method: "POST", body: form(wish) });
  /** @type {Job} */
  let job = await response.json();
  const path = `/v1/videos/${job.id}`;
  // Nobody waits for the answer: what could not be ended here ends by itself.
  const end = () => void net.fetch(below(path, page), { method: "DELETE", headers }).catch(() => {});
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  try {
    for (;;) {
      signal.throwIfAborted();
      told(job);
      if (job.status === "completed") break;
      if (job.status === "failed") {
        throw new Error(say("film_failed", { why: ended(job.error?.message ?? say("film_failed_silently")) }));
      };
      await net.sleep(pollMs(response.headers.get("openai-poll-after-ms")));
      signal.throwIfAborted();
      response = await ask(path);
      job = await response.json();
    }
    const content = await ask(`${path}/content`, { signal });
    return { file: await content.blob(), job };
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** @param {Wish} wish */
function form({ prompt, seconds, size, seed, script, picture }) {
  const form = new FormData();
  const fields = { prompt, seconds: String(seconds), size, seed: String(seed), camera_actions: script };
  for (const [name, value] of Object.entries(fields)) if (value !== "") form.append(name, value);
  if (picture) form.append("input_reference", new Blob([/** @type {BlobPart} */ (picture)]), "first-frame");
  return form;
}

/** @param {string | null} said what the server asks for */
export function pollMs(said) {
  const ms = Number(said);
  return ms > 0 ? Math.min(ms, POLL_MS_MAX) : POLL_MS;
}

/** How far a film is. @param {Job} job */
export function progressText({ status, progress, queue_position: position }) {
  if (status === "completed") return say("film_done");
  if (status === "in_progress") return say("film_drawing", { percent: progress });
  if (!position) return say("film_turn");
  return position === 1 ? say("film_next") : say("film_number", { number: position });
}

/**
 * Why a request about a film was refused, for a visitor.
 * @param {number} status @param {any} body the answer, if it was JSON @param {string | null} retryAfter seconds
 */
export function refusal(status, body, retryAfter) {
  const said = typeof body?.error?.message === "string" ? body.error.message : null;
  if (status === 401) return say("film_key");
  if (status === 501) return say("film_no_encoder");
  if (status === 429) {
    const seconds = Number(retryAfter);
    return seconds > 0 ? say("film_full_until", { seconds }) : say("film_full");
  }
  if (status === 404 && body?.error === undefined) return say("film_old_server");
  if (status === 404) return say("film_forgotten");
  return said === null ? say("film_answered", { status }) : say("film_says", { said: ended(said) });
}

/** @param {string} text */
const ended = (text) => text.replace(/\.?$/, ".");
