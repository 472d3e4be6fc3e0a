// Links: to a walk, what it begins with and what is held on the way; and to watch one that somebody takes now. What they say
// stands behind the `#` of the page's address, which a browser sends to no server.

/**
 * @typedef {{ world: string, seed: number, prompt: string, picture: string | null, size: string, keys: string }} Shared
 *   `picture`: the name of one of the world's own, null for none. `keys`: the script of what is held, may be empty.
 */

/** As long as a prompt's field takes. */
const PROMPT_MAX = 4000;
const NAME_MAX = 200;
/** A script of two minutes in which every step differs. */
const KEYS_MAX = 8000;

/** @param {string} page the page's own address @param {Shared} shared */
export function linkTo(page, shared) {
  const url = new URL(page);
  // Nothing else that stands there is for others, a key least of all.
  url.hash = `w=${encode(JSON.stringify({ v: 1, ...shared }))}`;
  return url.href;
}

/**
 * What a link tells; null if it tells of no walk.
 * @param {string} hash of the page's address @returns {Shared | null}
 * @throws a sentence, if the link is not whole
 */
export function shared(hash) {
  const text = new URLSearchParams(hash.replace(/^#/, "")).get("w");
  if (text === null) return null;
  let told;
  try {
    told = JSON.parse(decode(text));
  } catch {
    throw new Error("the link to a walk is not whole: copy all of it");
  }
  if (told?.v !== 1 || !isShared(told)) throw new Error("the link is of another version of this page");
  const { world, seed, prompt, picture, size, keys } = told;
  return { world, seed, prompt, picture, size, keys };
}

/** A link to watch a walk that somebody takes now. @param {string} page the page's own address @param {string} token */
export function watchLink(page, token) {
  const url = new URL(page);
  url.hash = `watch=${token}`;
  return url.href;
}

/** What a link to watch stands for; null if it is none. @param {string} hash of the page's address */
export const watchToken = (hash) => new URLSearchParams(hash.replace(/^#/, "")).get("watch");

/** Whether somebody else's value is what it should be. @param {any} told */
export function isShared(told) {
  const { world, seed, prompt, picture, size, keys } = told ?? {};
  const is = (/** @type {unknown} */ value, /** @type {number} */ most) => typeof value === "string" && value.length <= most;
  return is(world, NAME_MAX) && is(prompt, PROMPT_MAX) && (picture === null || is(picture, NAME_MAX)) && is(size, NAME_MAX) &&
    is(keys, KEYS_MAX) && Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32;
}

/** Letters, digits, `-` and `_` alone: nothing that a mail program breaks. @param {string} text */
function encode(text) {
  const bytes = new TextEncoder().encode(text);
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** @param {string} text */
function decode(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(binary, (character) => character.charCodeAt(0)));
}
