// The messages of the socket as plain objects: those to send, and `Incoming`, which puts those that arrive together.
//
// The one surprise of this wire: a picture's header and its pixels may be two messages, and the second is not MessagePack.
// Only `frame_batch_header` announces such a second message, so a type from the future cannot break the framing.

import { decode } from "./msgpack.js";
import { say } from "./words.js";

/**
 * @typedef {{ kind: "pictures", chunk: number, eventId: number | null, width: number, height: number,
 *   contentType: string, pieces: Uint8Array[], batch: number, keyFrames: number[] }} Pictures  Encoded or raw pictures of one
 *   chunk, in display order. `batch`: the message's number within it; `keyFrames`: in a film, those that need none before.
 * @typedef {{ kind: "stats", chunk: number, eventId: number | null, frames: number, bytes: number,
 *   ms: { total: number, generate: number, wait: number, encode: number, write: number,
 *         text: number | null, dit: number | null, vae: number | null } }} Stats  Where a chunk's time went.
 * @typedef {{ kind: "error", content: string, code: string | null,
 *   details: { field: string | null, reason: string | null }, eventId: number | null }} ServerError  `eventId`: of the event that was wrong.
 * @typedef {{ kind: "queue", position: number, reason: string | null, waitMs: number | null }} Standing  There is no place yet; 1: the next is ours.
 * @typedef {{ kind: "session", token: string, graceMs: number }} Hello  How to come back after a cut, and how long that is possible.
 * @typedef {{ kind: "begun", world: string, size: Size, fps: number, paced: boolean, features: string[], session: string, recorded: boolean }} Begun  What the session is.
 * @typedef {{ kind: "ack", chunk: number, applied: number[], superseded: number[], firstFrames: (number | null)[] }} Ack  Ids of the events that this chunk is the first
 *   to show, and of those that were replaced before a chunk could show them. `firstFrames`: for each applied one the first video frame
 *   that shows it, for a client that named `receipts`.
 * @typedef {{ kind: "timeline", chunk: number, place: number, eventId: number | null, size: Size | null }} Timeline  This chunk does not follow the one
 *   before: `place` is its own in the video, counted in chunks. `size`: of the video from there, to a viewer.
 * @typedef {{ kind: "received", eventId: number | null, at: number | null }} Received  An event has come, at this time of the server's clock.
 * @typedef {{ kind: "clock", clientMs: number, receivedMs: number, sentMs: number }} Clock  When it was asked for the time, and when the
 *   question came there and the answer left.
 * @typedef {{ kind: "watching", viewerId: number, role: string, world: string, size: Size, fps: number, paced: boolean, chunkFrames: number, features: string[] }} Watching
 *   What a viewer watches. `features`: how it could steer beside keys.
 * @typedef {{ kind: "stage", here: boolean, paused: boolean, camera: number, prompt: number }} Stage  To a viewer: whether the player is
 *   there, and the viewer that holds the camera and the prompt; 0: the player.
 * @typedef {{ kind: "skipped", chunks: number, nextChunk: number }} Skipped  What a slow viewer was not sent.
 * @typedef {{ kind: "shared", shareId: number, role: string, token: string }} Shared  The token that the player asked for.
 * @typedef {{ kind: "viewers", count: number, camera: number, prompt: number,
 *   guests: { viewerId: number, role: string, shareId: number }[] }} Viewers  Who watches. `guests`: who may be handed something.
 * @typedef {{ kind: "read", eventId: number | null, unknown: { word: string, suggestion: string | null }[], instead: string | null }} Read
 *   Words of a prompt that the world does not know. `eventId`: null for the first prompt; `instead`: what the walk begins with
 *   where it knows none.
 * @typedef {{ kind: "moved", url: string | null }} Moved  The session goes on at another server, once this one has closed. `url`: null
 *   where the known address leads there.
 * @typedef {{ kind: "unknown", type: string }} Unknown
 * @typedef {{ width: number, height: number }} Size
 * @typedef {{ forward?: number, strafe?: number, yaw?: number, pitch?: number }} Rates  Each from -1 to 1: ahead, right, turning right, up.
 */

export const RAW = "application/x-raw-rgb";
export const H264 = "video/h264";

/** @typedef {"jpeg" | "webp" | "raw" | "h264"} PictureFormat */

// Small pictures are scaled up on the screen, where JPEG's blocks show: spend a few bytes against them.
const QUALITY = 92;
// A film has no blocks to speak of at this one, and every step finer costs bytes.
const FILM_QUALITY = 65;

/** What the page understands beyond the reference. */
const FEATURES = ["queue", "session", "ack", "pause", "key_frame", "rates", "receipts", "rewind", "reset", "recording", "spectators", "unknown_words", "moved"];

/**
 * The first message of a session. What is left out is as the server has it.
 * @param {{ prompt: string, firstFrame?: Uint8Array | null, size?: Size, fps?: number, seed?: number,
 *   format: PictureFormat, key?: string | null, script?: string[][], paced?: boolean, maxChunks?: number,
 *   features?: readonly string[], recording?: { file: Uint8Array } | { session: string } | null }} start  `script`: the keys of the first
 *   steps. `recording`: goes on from its end; prompt, picture, size and seed are the recording's.
 */
export function init({ prompt, firstFrame, size, fps, seed, format, key, script = [], paced = true, maxChunks, features = FEATURES, recording }) {
  const own = recording ? {} : { prompt, first_frame: firstFrame ?? undefined, size: size && sizeText(size), seed };
  const begun = recording && ("file" in recording ? { file: recording.file } : { session_id: recording.session });
  return {
    type: "init",
    ...own,
    recording: begun ? { ...begun, show: false } : undefined,
    fps,
    max_chunks: maxChunks,
    realtime_output_format: format,
    realtime_output_pacing: paced,
    output_compression: format === "raw" ? undefined : format === "h264" ? FILM_QUALITY : QUALITY,
    api_key: key ?? undefined,
    condition_inputs: script.length > 0 ? { camera_actions: script } : undefined,
    // Other servers ignore it.
    protocol_features: features,
  };
}

/**
 * The first message of a new connection to a session whose line was cut.
 * @param {string} token @param {number | null} lastChunk the last one that came whole @param {string | null} key
 */
export function resume(token, lastChunk, key) {
  return { type: "resume", token, last_chunk: lastChunk ?? undefined, api_key: key ?? undefined };
}

/**
 * The first message of a viewer.
 * @param {string} token @param {PictureFormat} [format] by default as the player gets it
 */
export function watch(token, format) {
  const quality = format === "h264" ? FILM_QUALITY : format === undefined || format === "raw" ? undefined : QUALITY;
  return { type: "watch", token, realtime_output_format: format, output_compression: quality };
}

/** Make a token for viewers. @param {"view" | "director" | "control"} role */
export const shareEvent = (role) => ({ type: "event", kind: "share", payload: { role } });

/** End a token, and send its viewers away. @param {number} shareId */
export const unshareEvent = (shareId) => ({ type: "event", kind: "unshare", payload: { share_id: shareId } });

/** Let a viewer hold what its role allows. @param {number} viewerId */
export const handOverEvent = (viewerId) => ({ type: "event", kind: "hand_over", payload: { viewer_id: viewerId } });

/** Steer alone again. */
export const takeBackEvent = () => ({ type: "event", kind: "take_back" });

/**
 * Draw what follows under another prompt.
 * @param {number} eventId @param {string} prompt
 */
export function promptEvent(eventId, prompt) {
  return { type: "event", kind: "prompt", event_id: eventId, payload: prompt };
}

/**
 * What is held from now on.
 * @param {number} eventId @param {import("./controls.js").Transition[]} transitions
 */
export function keysEvent(eventId, transitions) {
  return {
    type: "event",
    kind: "camera_actions",
    event_id: eventId,
    payload: {
      mode: "state",
      transitions: transitions.map(({ actions, at }) => ({ actions, client_ts_ms: Math.round(at) })),
    },
  };
}

/**
 * Where the camera goes: at a part of what a held key does, or to a pose.
 * @param {number | null} eventId null: it has time until the next chunk @param {{ rates: Rates } | { pose: readonly number[] }} led
 */
export function ledEvent(eventId, led) {
  const event = { type: "event", kind: "camera_actions", payload: { mode: "state", transitions: [led] } };
  return eventId === null ? event : { ...event, event_id: eventId };
}

/**
 * Go back in the video, and go on from there. Only for a session that offers `rewind`.
 * @param {{ seconds: number } | { chunk: number }} to
 */
export const rewindEvent = (to) => ({ type: "event", kind: "rewind", payload: to });

/**
 * @typedef {{ prompt?: string, seed?: number, size?: Size, firstFrame?: Uint8Array | string | false }} Beginning  How another video
 *   begins. What is left out is as it was; `false`: without a picture.
 */

/**
 * Begin another video in the same session. Only for a session that offers `reset`.
 * @param {Beginning} beginning @param {number} [eventId]
 */
export const resetEvent = ({ prompt, seed, size, firstFrame }, eventId) => ({
  type: "event", kind: "reset", event_id: eventId,
  payload: { prompt, seed, size: size && sizeText(size), first_frame: firstFrame },
});

/**
 * Draw no more, or go on. Only for a server that has said that it is one of ours, with a `session` message.
 * @param {"pause" | "resume"} kind
 */
export function pauseEvent(kind) {
  return { type: "event", kind };
}

/** Let the next frame of the film be one that needs none before it. */
export const keyFrameEvent = () => ({ type: "event", kind: "key_frame" });

/** What time is it there? Only for a session that offers `receipts`. @param {number} now */
export const clockEvent = (now) => ({ type: "event", kind: "clock", payload: { client_ms: now } });

/** Keep the place in the queue: somebody is still there. Only for a server that has told of a queue. */
export const waitEvent = () => ({ type: "event", kind: "wait" });

/** @param {Size} size */
export const sizeText = ({ width, height }) => `${width}x${height}`;

/** Takes messages in the order of the socket, gives whole ones back. One for each connection. */
export class Incoming {
  /** @type {Record<string, any> | null} a header whose pixels have not come yet */
  #header = null;

  /**
   * @param {Uint8Array} bytes
   * @returns {Pictures | Stats | ServerError | Standing | Hello | Begun | Ack | Timeline | Received | Clock | Watching | Stage | Skipped | Shared | Viewers | Read | Moved | Unknown | null} null: a header, whose pixels are the next message
   * @throws if the bytes cannot be what the protocol says they are; the connection is of no use after that
   */
  receive(bytes) {
    if (this.#header) {
      const header = this.#header;
      this.#header = null;
      return pictures(header, bytes);
    }
    const message = decode(bytes);
    switch (message?.type) {
      case "frame_batch_header":
        this.#header = message;
        return null;
      case "frame_batch":
        return pictures(message, message.payload);
      case "chunk_stats":
        return stats(message);
      case "error":
        return {
          kind: "error",
          content: String(message.content ?? ""),
          code: textOrNull(message.code),
          details: { field: textOrNull(message.details?.field), reason: textOrNull(message.details?.reason) },
          eventId: message.event_id ?? null,
        };
      case "queue":
        return { kind: "queue", position: message.position, reason: textOrNull(message.reason), waitMs: message.estimated_wait_ms ?? null };
      case "session":
        return { kind: "session", token: String(message.resume_token), graceMs: message.grace_ms };
      case "init_ack": {
        const { world, width, height, fps, paced, features } = message;
        return { kind: "begun", world, size: { width, height }, fps, paced, features: features ?? [], session: String(message.session_id), recorded: message.recorded === true };
      }
      case "event_ack":
        return ack(message, message.applied ?? [], []);
      case "event_applied": {
        const firsts = message.applied ?? [];
        const ids = firsts.map((/** @type {any} */ first) => first.event_id);
        return ack(message, ids, firsts.map((/** @type {any} */ first) => first.first_frame_index));
      }
      case "timeline":
        return { kind: "timeline", chunk: message.chunk_index, place: message.video_chunk, eventId: message.event_id ?? null, size: sizeOrNull(message) };
      case "event_received":
        return { kind: "received", eventId: message.event_id ?? null, at: message.received_ms ?? null };
      case "clock":
        return { kind: "clock", clientMs: message.client_ms, receivedMs: message.received_ms, sentMs: message.sent_ms };
      case "watching": {
        const { viewer_id: viewerId, role, world, width, height, fps, paced, chunk_frames: chunkFrames, features } = message;
        return { kind: "watching", viewerId, role, world, size: { width, height }, fps, paced, chunkFrames, features: features ?? [] };
      }
      case "stage":
        return { kind: "stage", here: message.player === "here", paused: message.paused, camera: message.camera, prompt: message.prompt };
      case "skipped":
        return { kind: "skipped", chunks: message.chunks, nextChunk: message.next_chunk };
      case "shared":
        return { kind: "shared", shareId: message.share_id, role: message.role, token: String(message.token) };
      case "viewers": {
        const guests = (message.guests ?? []).map((/** @type {any} */ guest) => ({
          viewerId: guest.viewer_id, role: guest.role, shareId: guest.share_id,
        }));
        return { kind: "viewers", count: message.count, camera: message.camera, prompt: message.prompt, guests };
      }
      case "moved":
        return { kind: "moved", url: textOrNull(message.url) };
      case "prompt_read": {
        const unknown = (message.unknown ?? []).map((/** @type {any} */ told) => ({ word: String(told.word), suggestion: textOrNull(told.suggestion) }));
        return { kind: "read", eventId: message.event_id ?? null, unknown, instead: textOrNull(message.instead) };
      }
      default:
        return { kind: "unknown", type: String(message?.type) };
    }
  }
}

/**
 * @param {Record<string, any>} header @param {unknown} payload
 * @returns {Pictures}
 */
function pictures(header, payload) {
  const { num_frames: count, width, height, content_type: contentType } = header;
  if (!(payload instanceof Uint8Array)) throw new Error("pictures came without their bytes");
  if (payload.length !== header.total_size) {
    throw new Error(`pictures of ${header.total_size} bytes were announced and ${payload.length} came`);
  }
  const lengths = contentType === RAW ? new Array(count).fill(3 * width * height) : header.payload_lengths;
  return {
    kind: "pictures",
    chunk: header.chunk_index,
    eventId: header.event_id ?? null,
    width,
    height,
    contentType,
    pieces: slices(payload, lengths, count),
    batch: header.frame_batch_index,
    keyFrames: header.key_frames ?? [],
  };
}

/**
 * Cut a payload into its pictures: views, not copies.
 * @param {Uint8Array} payload @param {unknown} lengths @param {number} count
 */
function slices(payload, lengths, count) {
  if (!Array.isArray(lengths) || lengths.length !== count) {
    throw new Error(`${count} pictures were announced, not with one length each`);
  }
  let end = 0;
  const pieces = lengths.map((length) => payload.subarray(end, (end += length)));
  if (end !== payload.length) throw new Error(`the pictures' lengths add up to ${end}, not to ${payload.length} bytes`);
  return pieces;
}

/**
 * @param {Record<string, any>} message
 * @returns {Stats}
 */
function stats(message) {
  return {
    kind: "stats",
    chunk: message.chunk_index,
    eventId: message.event_id ?? null,
    frames: message.num_frames,
    bytes: message.ws_payload_bytes,
    ms: {
      total: message.chunk_total_ms,
      generate: message.scheduler_forward_ms,
      wait: message.pace_wait_ms,
      encode: message.raw_payload_build_ms,
      write: message.ws_write_ms,
      // Not in every server's stats.
      text: message.text_ms ?? null,
      dit: message.dit_ms ?? null,
      vae: message.vae_ms ?? null,
    },
  };
}

/** @param {Record<string, any>} message @param {number[]} applied @param {number[]} firstFrames @returns {Ack} */
const ack = (message, applied, firstFrames) => ({
  kind: "ack", chunk: message.chunk_index, applied, superseded: message.superseded ?? [],
  firstFrames: applied.map((_, i) => firstFrames[i] ?? null),
});

/** @param {unknown} value */
const textOrNull = (value) => (value === undefined || value === null ? null : String(value));

/** @param {any} message @returns {Size | null} */
const sizeOrNull = ({ width, height }) => (width === undefined || height === undefined ? null : { width, height });

/**
 * A server's error for a person.
 * @param {ServerError} error
 */
export function errorSentence({ content, details }) {
  const [, why] = /^error during generate loop: (.*)$/s.exec(content) ?? [];
  const said = content in ERRORS ? say(ERRORS[content]) : why === undefined ? content : say("error_stopped", { why });
  if (!details.reason) return /[.。]$/.test(said) ? said : `${said}.`;
  const name = details.field && (FIELDS[details.field] ? say(FIELDS[details.field]) : details.field);
  return `${said.replace(/[.。]$/, "")}. ${capital((name ? `${name}: ` : "") + details.reason)}.`;
}

/**
 * The position in the queue, for a person: in a few words, and in a sentence.
 * @param {Standing} standing
 */
export function standingText({ position, reason, waitMs }) {
  const place = position === 1 ? say("queue_next") : say("queue_number", { number: position });
  const who = position === 1 ? say("queue_you_are_next") : say("queue_ahead", { count: position - 1 });
  const wait = waitMs === null ? "" : say("queue_about", { time: durationText(waitMs) });
  return { short: place + wait, sentence: say("queue_sentence", { why: say(MISSING[reason ?? ""] ?? MISSING.sessions), who, wait }) };
}

/** What keeps a visitor from a place. @type {Record<string, import("./words.js").Word>} */
const MISSING = {
  sessions: "missing_sessions",
  memory: "no_place_memory",
  time: "missing_time",
  order: "missing_order",
};

/** @param {number} ms */
function durationText(ms) {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return seconds < 100 ? say("seconds", { count: seconds }) : say("minutes", { count: Math.round(seconds / 60) });
}

/**
 * Why a connection ended, for a person.
 * @param {number} code @param {string} reason
 */
export function closeSentence(code, reason) {
  if (code === 1000 && reason === "generation complete") return say("video_complete");
  const said = code in CLOSES ? say(CLOSES[code]) : say("closed_other", { code });
  return reason ? say("closed_because", { said, why: reason }) : say("closed_plain", { said });
}

/** @type {Record<string, import("./words.js").Word>} */
const ERRORS = {
  "invalid generate request": "error_generate",
  "invalid event": "error_event",
  "invalid resume request": "error_resume",
  "invalid watch request": "error_watch",
  "no room for another viewer": "error_viewers",
  "this session goes on on another connection": "error_elsewhere",
  "another realtime session is already active": "error_taken",
};

/** Names on the wire → names on the page. @type {Record<string, import("./words.js").Word>} */
const FIELDS = {
  first_frame: "field_first_frame",
  realtime_output_format: "field_realtime_output_format",
  output_compression: "field_output_compression",
  payload: "field_payload",
  recording: "field_recording",
  realtime_output_pacing: "field_realtime_output_pacing",
};

/** @type {Record<number, import("./words.js").Word>} */
const CLOSES = {
  1000: "closed_1000",
  1001: "closed_1001",
  1002: "closed_1002",
  1003: "closed_1003",
  1006: "closed_1006",
  1008: "closed_1008",
  1009: "closed_1009",
  1011: "closed_1011",
  1012: "closed_1012",
  1013: "closed_1013",
  4002: "closed_4002",
};

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
