// Writes into a recorded file how long it is. A browser's recorder does not know that when it writes the file's head, and leaves it
// out: players then show no end, and some cannot wind.
//
// Sources: ISO/IEC 14496-12 (boxes `mvhd`, `tkhd`, `mdhd`, `mehd`), RFC 9559 (Matroska: `Info`, `Duration`).

/** The head of a recording is some hundred bytes. */
const HEAD_BYTES = 64 * 1024;

/**
 * The same film, with its length in it; unchanged if its head is not as browsers write it.
 * @param {Blob} file @param {number} ms
 */
export async function withLength(file, ms) {
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const longer = file.type.startsWith("video/mp4") ? mp4(head, ms) : webm(head, ms);
  return longer ? new Blob([/** @type {BlobPart} */ (longer), file.slice(head.length)], { type: file.type }) : file;
}

/** @param {Uint8Array} bytes */
const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** @param {Uint8Array[]} parts */
function joined(...parts) {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// MP4

/**
 * The boxes one after another; null where they are not whole.
 * @param {Uint8Array} bytes @returns {{ type: string, bytes: Uint8Array }[] | null}
 */
function boxes(bytes) {
  const all = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + 8 > bytes.length) return null;
    const size = view(bytes).getUint32(at);
    if (size < 8 || at + size > bytes.length) return null;
    all.push({ type: String.fromCharCode(...bytes.subarray(at + 4, at + 8)), bytes: bytes.subarray(at, at + size) });
    at += size;
  }
  return all;
}

/** @param {string} type @param {Uint8Array[]} content */
function box(type, ...content) {
  const whole = joined(new Uint8Array(8), ...content);
  view(whole).setUint32(0, whole.length);
  for (let i = 0; i < 4; i++) whole[4 + i] = type.charCodeAt(i);
  return whole;
}

/** Boxes that hold the ones that are changed. */
const HOLDERS = ["moov", "trak", "mdia", "mvex"];
/** Boxes with a length, and how far behind version, flags and times it stands: `tkhd` has a number and a gap between. @type {Record<string, number>} */
const WITH_LENGTH = { mvhd: 4, mdhd: 4, tkhd: 8 };

/**
 * @param {Uint8Array} head @param {number} ms
 * @returns {Uint8Array | null} the head of a film with another length
 */
export function mp4(head, ms) {
  // `ftyp`, then `moov`; what comes after that need not be whole.
  const start = head.length >= 8 ? view(head).getUint32(0) : head.length;
  if (start + 8 > head.length) return null;
  const end = start + view(head).getUint32(start);
  const [moov] = (end <= head.length && boxes(head.subarray(start, end))) || [];
  if (moov?.type !== "moov") return null;
  const movie = boxes(moov.bytes.subarray(8))?.find(({ type }) => type === "mvhd");
  // Places are told from each fragment's own beginning, so that what comes before may grow.
  const longer = movie && changed(moov.bytes, ms, scale(movie.bytes));
  return longer ? joined(head.subarray(0, start), longer, head.subarray(end)) : null;
}

/** Ticks of a second, in a `mvhd` or `mdhd`. @param {Uint8Array} bytes */
const scale = (bytes) => view(bytes).getUint32(bytes[8] === 1 ? 28 : 20);

/** @param {Uint8Array} bytes a box @param {number} ms @param {number} movieScale @returns {Uint8Array | null} */
function changed(bytes, ms, movieScale) {
  const type = String.fromCharCode(...bytes.subarray(4, 8));
  if (type in WITH_LENGTH) {
    const copy = bytes.slice();
    const ticks = Math.round((ms * (type === "mdhd" ? scale(bytes) : movieScale)) / 1000);
    if (bytes[8] === 1) view(copy).setBigUint64(12 + 16 + WITH_LENGTH[type], BigInt(ticks));
    else view(copy).setUint32(12 + 8 + WITH_LENGTH[type], ticks);
    return copy;
  }
  if (!HOLDERS.includes(type)) return bytes;
  const inside = boxes(bytes.subarray(8));
  if (!inside) return null;
  const parts = inside.filter(({ type }) => type !== "mehd").map(({ bytes }) => changed(bytes, ms, movieScale));
  if (parts.includes(null)) return null;
  if (type === "mvex") {
    const length = new Uint8Array(12);
    length[0] = 1; // the length has eight bytes
    view(length).setBigUint64(4, BigInt(Math.round((ms * movieScale) / 1000)));
    parts.unshift(box("mehd", length));
  }
  return box(type, .../** @type {Uint8Array[]} */ (parts));
}

// WebM

const SEGMENT = 0x18538067, INFO = 0x1549a966, SEEK_HEAD = 0x114d9b74, TICK_NS = 0x2ad7b1, DURATION = 0x4489;

/**
 * An element's name and size, as EBML writes numbers: zeros before the first one tell how many bytes follow.
 * @param {Uint8Array} bytes @param {number} at
 * @returns {{ id: number, start: number, end: number } | null} `start`, `end`: of what is in it; endless where it does not say
 */
function elementAt(bytes, at) {
  const idLength = Math.clz32(bytes[at]) - 23;
  const sizeAt = at + idLength;
  const sizeLength = Math.clz32(bytes[sizeAt]) - 23;
  const start = sizeAt + sizeLength;
  if (!(idLength <= 4 && sizeLength <= 8 && start <= bytes.length)) return null;
  let id = 0;
  for (let i = at; i < sizeAt; i++) id = id * 256 + bytes[i];
  let size = bytes[sizeAt] & (0xff >> sizeLength);
  let unknown = size === 0xff >> sizeLength;
  for (let i = sizeAt + 1; i < start; i++) {
    size = size * 256 + bytes[i];
    unknown &&= bytes[i] === 0xff;
  }
  return { id, start, end: unknown ? Infinity : start + size };
}

/**
 * @param {Uint8Array} head @param {number} ms
 * @returns {Uint8Array | null} the head of a film with its length
 */
export function webm(head, ms) {
  const ebml = elementAt(head, 0);
  const segment = ebml && elementAt(head, ebml.end);
  // A segment that says how long it is was not written while it was recorded.
  if (segment?.id !== SEGMENT || segment.end !== Infinity) return null;
  for (let at = segment.start; at < head.length; ) {
    const element = elementAt(head, at);
    if (!element || element.end > head.length) return null;
    // A table of places would be wrong after the insertion. Firefox writes an empty one.
    if (element.id === SEEK_HEAD && element.end > element.start) return null;
    if (element.id === INFO) {
      const info = withDuration(head.subarray(element.start, element.end), ms);
      return info && joined(head.subarray(0, at), info, head.subarray(element.end));
    }
    at = element.end;
  }
  return null;
}

/** @param {Uint8Array} info what is in it @param {number} ms @returns {Uint8Array | null} the whole element */
function withDuration(info, ms) {
  let tickNs = 1e6;
  const kept = [];
  for (let at = 0; at < info.length; ) {
    const element = elementAt(info, at);
    if (!element || element.end > info.length) return null;
    if (element.id === TICK_NS) tickNs = info.subarray(element.start, element.end).reduce((sum, byte) => sum * 256 + byte, 0);
    if (element.id !== DURATION) kept.push(info.subarray(at, element.end));
    at = element.end;
  }
  const duration = new Uint8Array(11);
  view(duration).setUint16(0, DURATION);
  duration[2] = 0x88; // eight bytes follow
  view(duration).setFloat64(3, (ms * 1e6) / tickNs);
  const content = joined(...kept, duration);
  const name = new Uint8Array(8);
  view(name).setUint32(0, INFO);
  view(name).setUint32(4, 0x10000000 | content.length); // a number of four bytes
  return joined(name, content);
}
