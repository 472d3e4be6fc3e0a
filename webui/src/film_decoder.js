// H.264 as it comes over the socket: access units in, ImageBitmaps out, by the browser's own decoder (WebCodecs).
//
// A frame needs those before it. So every access unit is decoded exactly once and in order; after a mistake all are dropped
// up to the next key frame.

/** @typedef {{ resolve: (bitmap: ImageBitmap | null) => void, reject: (cause: Error) => void }} Waiting */

export class FilmDecoder {
  /** @type {VideoDecoder | null} */
  #decoder = null;
  /** Those whose access unit is in the decoder, by its timestamp. @type {Map<number, Waiting>} */
  #inside = new Map();
  #next = 0;
  /** The message that was decoded last: a chunk that was cut by a lost line comes again from its beginning. */
  #last = { chunk: -1, batch: -1 };
  /** Decoding can go on at a key frame alone. */
  wantsKey = true;

  /**
   * The pictures of one message; fewer than it has pieces if some were decoded before, or need a frame that was not.
   * @param {import("./protocol.js").Pictures} pictures
   * @returns {Promise<ImageBitmap[]>}
   */
  async decode({ chunk, batch, pieces, keyFrames }) {
    const { chunk: lastChunk, batch: lastBatch } = this.#last;
    if (chunk < lastChunk || (chunk === lastChunk && batch <= lastBatch)) return [];
    this.#last = { chunk, batch };
    const coming = [];
    for (const [i, piece] of pieces.entries()) {
      const isKey = keyFrames.includes(i);
      if (this.wantsKey && !isKey) continue;
      if (this.wantsKey) this.#begin(piece);
      this.wantsKey = false;
      coming.push(this.#put(piece, isKey));
    }
    return (await Promise.all(coming)).filter((bitmap) => bitmap !== null);
  }

  /** Forget the film. */
  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
    this.wantsKey = true;
    const inside = [...this.#inside.values()];
    this.#inside.clear();
    for (const { resolve } of inside) resolve(null);
  }

  /** @param {Uint8Array} key an access unit with the parameter sets */
  #begin(key) {
    this.close();
    this.#decoder = new VideoDecoder({ output: (frame) => this.#out(frame), error: (cause) => this.#failed(cause) });
    // Without a description the format is Annex B, as it comes.
    this.#decoder.configure({ codec: codecOf(key), optimizeForLatency: true });
  }

  /** @param {Uint8Array} piece @param {boolean} isKey @returns {Promise<ImageBitmap | null>} */
  #put(piece, isKey) {
    const timestamp = this.#next++;
    return new Promise((resolve, reject) => {
      this.#inside.set(timestamp, { resolve, reject });
      try {
        this.#decoder?.decode(new EncodedVideoChunk({ type: isKey ? "key" : "delta", timestamp, data: piece }));
      } catch (cause) {
        this.#failed(/** @type {Error} */ (cause));
      }
    });
  }

  /** @param {VideoFrame} frame */
  #out(frame) {
    const waiting = this.#inside.get(frame.timestamp);
    this.#inside.delete(frame.timestamp);
    if (!waiting) return frame.close();
    createImageBitmap(frame).then(waiting.resolve, waiting.reject).finally(() => frame.close());
  }

  /** @param {Error} cause */
  #failed(cause) {
    const [first] = this.#inside.values();
    first?.reject(cause);
    this.close();
  }
}

/**
 * The codec's name for WebCodecs (RFC 6381): profile, constraints and level, as the sequence parameter set begins with.
 * @param {Uint8Array} accessUnit Annex B, with the parameter sets
 */
export function codecOf(accessUnit) {
  const SEQUENCE_PARAMETERS = 7;
  for (let i = 0; i + 6 < accessUnit.length; i++) {
    const starts = accessUnit[i] === 0 && accessUnit[i + 1] === 0 && accessUnit[i + 2] === 1;
    if (starts && (accessUnit[i + 3] & 31) === SEQUENCE_PARAMETERS) {
      const name = accessUnit.subarray(i + 4, i + 7);
      return `avc1.${[...name].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    }
  }
  throw new Error("a key frame without its parameter sets");
}

/** Whether this browser decodes what the server sends. */
export async function canDecodeFilm() {
  if (!("VideoDecoder" in globalThis)) return false;
  // Main profile, level 3.1: 1280x720.
  const { supported } = await VideoDecoder.isConfigSupported({ codec: "avc1.4d001f", optimizeForLatency: true });
  return supported === true;
}
