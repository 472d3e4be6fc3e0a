// MessagePack, both directions, nothing else. Integers of 64 bits come back as Number where that is exact and as BigInt
// where it is not; a message that ends early or has bytes left over is an error, never a guess.

/** What an encoded message may nest. Deeper is an attack, not a message. */
const DEPTH_MAX = 64;

/** An application-defined value: a type number from -128 to 127 and its bytes. */
export class Ext {
  /** @param {number} type @param {Uint8Array} data */
  constructor(type, data) {
    this.type = type;
    this.data = data;
  }
}

/**
 * Read exactly one value.
 *
 * Binary values are views into `bytes`, not copies. Maps become plain objects, their keys strings.
 * @param {Uint8Array} bytes
 * @returns {any}
 */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) {
    throw new Error(`MessagePack: ${bytes.length - reader.at} bytes left over after the value`);
  }
  return value;
}

/**
 * Write one value: null, booleans, numbers, bigints, strings, Uint8Array, arrays, `Ext`, plain objects.
 *
 * Numbers take their smallest integer form, or float64. Keys whose value is `undefined` are left out.
 * @param {any} value
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encode(value) {
  const writer = new Writer();
  writer.value(value, 0);
  return writer.bytes.slice(0, writer.at);
}

const utf8Decoder = new TextDecoder("utf-8", { fatal: true });
const utf8Encoder = new TextEncoder();

class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /**
   * Step over `length` bytes and say where they begin.
   * @param {number} length
   */
  take(length) {
    const begin = this.at;
    if (length > this.bytes.length - begin) {
      throw new Error(
        `MessagePack: truncated, ${length} bytes wanted at offset ${begin} of ${this.bytes.length}`,
      );
    }
    this.at += length;
    return begin;
  }

  /** @param {number} width */
  uint(width) {
    const begin = this.take(width);
    if (width === 1) return this.view.getUint8(begin);
    if (width === 2) return this.view.getUint16(begin);
    return this.view.getUint32(begin);
  }

  /** @param {number} length */
  binary(length) {
    const begin = this.take(length);
    return this.bytes.subarray(begin, begin + length);
  }

  /** @param {number} length */
  text(length) {
    return utf8Decoder.decode(this.binary(length));
  }

  /** @param {number} length */
  extension(length) {
    const type = this.view.getInt8(this.take(1));
    return new Ext(type, this.binary(length));
  }

  /** @param {number} length @param {number} depth */
  array(length, depth) {
    this.mustHold(length);
    const items = [];
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1));
    return items;
  }

  /** @param {number} length @param {number} depth */
  map(length, depth) {
    this.mustHold(2 * length);
    const entries = [];
    for (let i = 0; i < length; i++) {
      const key = String(this.value(depth + 1));
      entries.push([key, this.value(depth + 1)]);
    }
    // Not by assignment: a key named `__proto__` must stay a key.
    return Object.fromEntries(entries);
  }

  /**
   * Every item takes a byte at least, so a length that cannot be true is refused before anything is allocated for it.
   * @param {number} items
   */
  mustHold(items) {
    if (items > this.bytes.length - this.at) {
      throw new Error(`MessagePack: truncated, ${items} items announced at offset ${this.at} of ${this.bytes.length}`);
    }
  }

  /**
   * @param {number} depth
   * @returns {any}
   */
  value(depth) {
    if (depth > DEPTH_MAX) throw new Error(`MessagePack: nested more than ${DEPTH_MAX} deep`);
    const byte = this.uint(1);
    if (byte < 0x80) return byte;
    if (byte < 0x90) return this.map(byte & 0x0f, depth);
    if (byte < 0xa0) return this.array(byte & 0x0f, depth);
    if (byte < 0xc0) return this.text(byte & 0x1f);
    if (byte >= 0xe0) return byte - 0x100;
    switch (byte) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.binary(this.uint(1));
      case 0xc5: return this.binary(this.uint(2));
      case 0xc6: return this.binary(this.uint(4));
      case 0xc7: return this.extension(this.uint(1));
      case 0xc8: return this.extension(this.uint(2));
      case 0xc9: return this.extension(this.uint(4));
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: return this.uint(1);
      case 0xcd: return this.uint(2);
      case 0xce: return this.uint(4);
      case 0xcf: return numberIfExact(this.view.getBigUint64(this.take(8)));
      case 0xd0: return this.view.getInt8(this.take(1));
      case 0xd1: return this.view.getInt16(this.take(2));
      case 0xd2: return this.view.getInt32(this.take(4));
      case 0xd3: return numberIfExact(this.view.getBigInt64(this.take(8)));
      case 0xd4: return this.extension(1);
      case 0xd5: return this.extension(2);
      case 0xd6: return this.extension(4);
      case 0xd7: return this.extension(8);
      case 0xd8: return this.extension(16);
      case 0xd9: return this.text(this.uint(1));
      case 0xda: return this.text(this.uint(2));
      case 0xdb: return this.text(this.uint(4));
      case 0xdc: return this.array(this.uint(2), depth);
      case 0xdd: return this.array(this.uint(4), depth);
      case 0xde: return this.map(this.uint(2), depth);
      case 0xdf: return this.map(this.uint(4), depth);
      default: throw new Error("MessagePack: the byte c1 begins no value");
    }
  }
}

/** @param {bigint} value */
function numberIfExact(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.at = 0;
  }

  /**
   * The next `length` bytes, growing to hold them: so never keep a view from before.
   * @param {number} length
   */
  room(length) {
    const begin = this.at;
    const needed = begin + length;
    if (needed > this.bytes.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.bytes.length));
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.at = needed;
    return new DataView(this.bytes.buffer, begin, length);
  }

  /** @param {number} value */
  byte(value) {
    this.room(1).setUint8(0, value);
  }

  /** @param {Uint8Array} data */
  raw(data) {
    const begin = this.at;
    this.room(data.length);
    this.bytes.set(data, begin);
  }

  /**
   * A marker and a length in the smallest of its widths.
   * @param {number} length
   * @param {number[]} markers the 8-bit (or 0, where the format has none), 16-bit and 32-bit forms
   */
  length(length, [marker8, marker16, marker32]) {
    if (marker8 && length < 0x100) {
      this.byte(marker8);
      this.byte(length);
    } else if (length < 0x10000) {
      this.byte(marker16);
      this.room(2).setUint16(0, length);
    } else {
      this.byte(marker32);
      this.room(4).setUint32(0, length);
    }
  }

  /** @param {any} value @param {number} depth */
  value(value, depth) {
    if (depth > DEPTH_MAX) throw new Error(`MessagePack: nested more than ${DEPTH_MAX} deep`);
    if (value === null || value === undefined) this.byte(0xc0);
    else if (value === false) this.byte(0xc2);
    else if (value === true) this.byte(0xc3);
    else if (typeof value === "number") this.number(value);
    else if (typeof value === "bigint") this.bigint(value);
    else if (typeof value === "string") this.text(value);
    else if (value instanceof Uint8Array) {
      this.length(value.length, [0xc4, 0xc5, 0xc6]);
      this.raw(value);
    } else if (Array.isArray(value)) {
      if (value.length < 16) this.byte(0x90 | value.length);
      else this.length(value.length, [0, 0xdc, 0xdd]);
      for (const item of value) this.value(item, depth + 1);
    } else if (value instanceof Ext) this.extension(value);
    else if (typeof value === "object") {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      if (entries.length < 16) this.byte(0x80 | entries.length);
      else this.length(entries.length, [0, 0xde, 0xdf]);
      for (const [key, item] of entries) {
        this.text(key);
        this.value(item, depth + 1);
      }
    } else throw new Error(`MessagePack: a ${typeof value} has no encoding`);
  }

  /** @param {number} value */
  number(value) {
    if (!Number.isSafeInteger(value)) {
      this.byte(0xcb);
      this.room(8).setFloat64(0, value);
    } else if (value >= 0) {
      if (value < 0x80) this.byte(value);
      else if (value <= 0xffffffff) this.length(value, [0xcc, 0xcd, 0xce]);
      else this.bigint(BigInt(value));
    } else if (value >= -0x20) this.byte(value + 0x100);
    else if (value >= -0x80) {
      this.byte(0xd0);
      this.room(1).setInt8(0, value);
    } else if (value >= -0x8000) {
      this.byte(0xd1);
      this.room(2).setInt16(0, value);
    } else if (value >= -0x80000000) {
      this.byte(0xd2);
      this.room(4).setInt32(0, value);
    } else this.bigint(BigInt(value));
  }

  /** @param {bigint} value */
  bigint(value) {
    if (value >= 0n) {
      if (value >> 64n) throw new Error(`MessagePack: ${value} does not fit 64 bits`);
      this.byte(0xcf);
      this.room(8).setBigUint64(0, value);
    } else {
      if (value < -(1n << 63n)) throw new Error(`MessagePack: ${value} does not fit 64 bits`);
      this.byte(0xd3);
      this.room(8).setBigInt64(0, value);
    }
  }

  /** @param {string} value */
  text(value) {
    const data = utf8Encoder.encode(value);
    if (data.length < 32) this.byte(0xa0 | data.length);
    else this.length(data.length, [0xd9, 0xda, 0xdb]);
    this.raw(data);
  }

  /** @param {Ext} value */
  extension({ type, data }) {
    const fixed = [1, 2, 4, 8, 16].indexOf(data.length);
    if (fixed >= 0) this.byte(0xd4 + fixed);
    else this.length(data.length, [0xc7, 0xc8, 0xc9]);
    this.room(1).setInt8(0, type);
    this.raw(data);
  }
}
