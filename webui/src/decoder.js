// A worker: encoded or raw pictures or a film in, ImageBitmaps out, in the order they came.

/**
 * @typedef {{ session: number, pictures: import("./protocol.js").Pictures, gap: boolean }} Job  `gap`: some before these were dropped.
 * @typedef {{ session: number, chunk: number, eventId: number | null, count: number, bitmaps: ImageBitmap[],
 *   decodeMs: number, error: string | null, wantsKey: boolean }} Decoded  `count` pictures were asked for; none is there
 *   after an error. `wantsKey`: the film goes on at its next key frame.
 */

import { FilmDecoder } from "./film_decoder.js";
import { H264, RAW } from "./protocol.js";

/** Decoding is asynchronous, and a small picture must not overtake a large one. */
let last = Promise.resolve();

/** The film of one walk. */
let film = { session: -1, decoder: new FilmDecoder() };

self.onmessage = (/** @type {MessageEvent<Job>} */ { data }) => {
  // A film's frames go in as they come: the decoder keeps their order itself, and may need the next to give one out.
  const decoder = data.pictures.contentType === H264 ? filmOf(data.session) : undefined;
  // Without one of its frames a film goes on at a key frame.
  if (data.gap) decoder?.close();
  const bitmaps = decoder?.decode(data.pictures);
  bitmaps?.catch(() => {});
  last = last.then(() => decode(data, bitmaps));
};

/** @param {number} session */
function filmOf(session) {
  if (film.session !== session) {
    film.decoder.close();
    film = { session, decoder: new FilmDecoder() };
  }
  return film.decoder;
}

/** @param {Job} job @param {Promise<ImageBitmap[]>} [coming] */
async function decode({ session, pictures }, coming) {
  const { chunk, eventId, pieces } = pictures;
  const began = performance.now();
  /** @type {ImageBitmap[]} */
  let bitmaps = [];
  let error = null;
  try {
    bitmaps = await (coming ?? Promise.all(pieces.map((piece) => bitmap(piece, pictures))));
  } catch (cause) {
    error = /** @type {Error} */ (cause).message;
  }
  /** @type {Decoded} */
  const decoded = {
    session, chunk, eventId, count: pieces.length, bitmaps, decodeMs: performance.now() - began, error,
    wantsKey: coming !== undefined && film.session === session && film.decoder.wantsKey,
  };
  self.postMessage(decoded, { transfer: bitmaps });
}

/**
 * @param {Uint8Array} piece @param {import("./protocol.js").Pictures} pictures
 */
function bitmap(piece, { contentType, width, height }) {
  // No colour management on the way: what the world drew is what is shown.
  /** @type {ImageBitmapOptions} */
  const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  if (contentType === RAW) return createImageBitmap(new ImageData(rgba(piece), width, height), exact);
  return createImageBitmap(new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (piece)], { type: contentType }), exact);
}

/** @param {Uint8Array} rgb */
function rgba(rgb) {
  const out = new Uint8ClampedArray((rgb.length / 3) * 4);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    out[to] = rgb[from];
    out[to + 1] = rgb[from + 1];
    out[to + 2] = rgb[from + 2];
    out[to + 3] = 255;
  }
  return out;
}
