// A film of the walk, for the visitor to keep: parts of a video file come in, one file goes out.
//
// All of a film is in memory until it is saved. So it ends by itself when it is long or large, and what was recorded is kept. Each
// part also goes to the browser's database as it comes, for a tab that closes before.

import { say } from "./words.js";

/**
 * @typedef {"asked" | "session over" | "too long" | "too large" | "failed"} Ending
 */

export const FILM_MS_MAX = 10 * 60_000;
export const FILM_BYTES_MAX = 256e6;
/** Room for the part that a recorder still holds when it is told to stop, many times over. */
const LAST_PART_BYTES = 4e6;
/** How often a recorder hands over a part: no more than this can be lost with it. */
const PART_MS = 1000;

/** MP4 first, which every phone and every program plays; then the smallest files first. */
const TYPES = [
  "video/mp4;codecs=avc1.640028", "video/mp4;codecs=avc1.42E01F", "video/mp4;codecs=vp09.00.40.08", "video/mp4",
  "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm",
];

/**
 * What to record as; null where a browser cannot.
 * @param {Pick<typeof MediaRecorder, "isTypeSupported"> | undefined} recorder
 */
export const filmType = (recorder) => TYPES.find((type) => recorder?.isTypeSupported(type)) ?? null;

export class Film {
  #recorder;
  #began;
  /** @type {Blob[]} */
  #parts = [];
  #bytes = 0;
  /** @type {Ending | null} null while it runs */
  #ending = null;

  /**
   * Begins at once.
   * @param {MediaRecorder} recorder a new one
   * @param {number} now
   * @param {(part: Blob) => void} came called for each part, in order; all of them make the file
   * @param {(file: Blob, ending: Ending) => void} ended called once; the file is empty if nothing came
   * @throws if the recorder does not start
   */
  constructor(recorder, now, came, ended) {
    this.#recorder = recorder;
    this.#began = now;
    recorder.ondataavailable = ({ data }) => {
      this.#parts.push(data);
      this.#bytes += data.size;
      came(data);
      if (this.#bytes > FILM_BYTES_MAX - LAST_PART_BYTES) this.end("too large");
    };
    // A recorder that fails stops by itself, and hands over what it has before it says so.
    recorder.onstop = () => ended(new Blob(this.#parts, { type: recorder.mimeType }), this.#ending ?? "failed");
    recorder.start(PART_MS);
  }

  /** @param {number} now */
  elapsedMs(now) {
    return now - this.#began;
  }

  /** To be called often. @param {number} now */
  tick(now) {
    if (this.elapsedMs(now) >= FILM_MS_MAX) this.end("too long");
  }

  /** The first reason counts. @param {Ending} ending */
  end(ending) {
    if (this.#ending !== null || this.#recorder.state === "inactive") return;
    this.#ending = ending;
    this.#recorder.stop();
  }
}

/**
 * What to tell a visitor about the end of a film: nothing, if it ended as the visitor wished.
 * @param {Ending} ending @param {number} bytes
 * @returns {string | null}
 */
export function endingSentence(ending, bytes) {
  if (bytes === 0) return say("recorded_nothing");
  if (ending === "too long") return say("recorded_long", { minutes: FILM_MS_MAX / 60_000 });
  if (ending === "too large") return say("recorded_large", { megabytes: FILM_BYTES_MAX / 1e6 });
  if (ending === "failed") return say("recorded_failed");
  return null;
}

/**
 * `causeway-pocket-20260131-235959.webm`, in the visitor's own time.
 * @param {string} world @param {Date} at @param {string} type the file's
 */
export function fileName(world, at, type) {
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}${two(at.getMonth() + 1)}${two(at.getDate())}`;
  const time = two(at.getHours()) + two(at.getMinutes()) + two(at.getSeconds());
  // A world may be named like a path.
  const name = world.replace(/[^\w.-]+/g, "-");
  const [ending] = Object.entries(ENDINGS).find(([, begins]) => type.startsWith(begins)) ?? ["webm"];
  return `causeway-${name}-${day}-${time}.${ending}`;
}

const ENDINGS = { mp4: "video/mp4", webm: "video/webm", png: "image/png" };

/**
 * The largest whole factor that keeps a small world's film within a common screen. Players blur what they enlarge.
 * @param {import("./protocol.js").Size} size
 */
export const filmScale = ({ width, height }) =>
  Math.max(1, Math.floor(Math.min(FILM_WIDTH / width, FILM_HEIGHT / height)));

const FILM_WIDTH = 1280;
const FILM_HEIGHT = 720;

/** `1:05`. @param {number} ms */
export function timeText(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
