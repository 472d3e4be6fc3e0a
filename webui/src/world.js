// What this server offers, over plain HTTP: whether it is ready, which world, which pictures to start from.

import { below } from "./address.js";
import { say } from "./words.js";

/**
 * @typedef {import("./protocol.js").Size} Size
 * @typedef {{ only: Size[] } | { multiple: number, pixelsMax: number }} Sizes
 * @typedef {{ name: string, sizes: Sizes, defaultSize: Size, fps: number, chunk: number, needsFirstFrame: boolean,
 *   presets: string[], keys: string[], rates: boolean, degrees: { yaw: number, pitch: number } | null }} Card  `rates`: whether
 *   it follows parts of a key. `degrees`: what a look key turns by in a latent frame, where the world says so.
 * @typedef {{ name: string, prompt: string, url: string }} GalleryItem
 * @typedef {"ready" | "loading" | "closing" | "unreachable" | "strange"} Health  `strange`: what answers is no Causeway.
 */

/**
 * What an answer to `/health` says.
 * @param {number} status @param {string} body
 * @returns {Health}
 */
export function healthOf(status, body) {
  let said;
  try {
    said = JSON.parse(body)?.status;
  } catch {
    return "strange"; // a proxy's own page
  }
  if (status === 200 && said === "ok") return "ready";
  if (status === 503 && said === "loading") return "loading";
  if (status === 503 && (said === "draining" || said === "stopping")) return "closing";
  return "strange";
}

/**
 * @param {string} page the page's own address, as for all that is asked here
 * @returns {Promise<Health>}
 */
export async function health(page) {
  try {
    const response = await fetch(below("/health", page), { cache: "no-store" });
    return healthOf(response.status, await response.text());
  } catch {
    return "unreachable";
  }
}

/**
 * @param {string} page
 * @returns {Promise<{ card: Card, gallery: GalleryItem[] }>}
 */
export async function world(page) {
  const [models, gallery] = await Promise.all([json("/v1/models", page), json("/v1/gallery", page)]);
  return { card: card(models.data[0]), gallery: gallery.map((/** @type {any} */ item) => galleryItem(item, page)) };
}

/** @param {{ name: string, prompt: string, image: string }} item @param {string} page @returns {GalleryItem} */
export const galleryItem = ({ name, prompt, image }, page) => ({ name, prompt, url: below(image, page) });

/** @param {string} path @param {string} page */
async function json(path, page) {
  const response = await fetch(below(path, page), { cache: "no-store" });
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

/**
 * A model of `/v1/models` as the page wants it.
 * @param {any} model
 * @returns {Card}
 */
export function card(model) {
  const own = model.causeway;
  return {
    name: model.id,
    sizes: own.sizes.only
      ? { only: own.sizes.only.map(size) }
      : { multiple: own.sizes.multiple, pixelsMax: own.sizes.pixels_max },
    defaultSize: size(own.default_size),
    fps: own.fps,
    chunk: own.chunk,
    needsFirstFrame: own.needs_first_frame,
    presets: own.presets,
    keys: own.keys,
    rates: own.steering?.rates === true,
    degrees: own.look_step ? { yaw: own.look_step.yaw_deg, pitch: own.look_step.pitch_deg } : null,
  };
}

/**
 * `832x480`, as everywhere on the wire; also in the wide digits of an input method.
 * @param {string} text
 * @returns {Size}
 */
export function size(text) {
  const [, width, height] = /^\s*(\d+)\s*[x×]\s*(\d+)\s*$/i.exec(text.normalize("NFKC")) ?? [];
  if (!(Number(width) > 0 && Number(height) > 0)) throw new Error(`“${text}” is not a size like 832x480`);
  return { width: Number(width), height: Number(height) };
}

/**
 * What is wrong with a size for this world, in words; null if nothing is.
 * @param {Sizes} sizes @param {Size} size
 */
export function sizeProblem(sizes, { width, height }) {
  if ("only" in sizes) {
    const drawn = sizes.only.some((size) => size.width === width && size.height === height);
    return drawn ? null : say("size_only", { sizes: sizes.only.map(({ width, height }) => `${width}×${height}`).join(", ") });
  }
  if (width % sizes.multiple || height % sizes.multiple) return say("size_multiple", { multiple: sizes.multiple });
  if (width * height > sizes.pixelsMax) return say("size_pixels", { pixels: sizes.pixelsMax.toLocaleString("en") });
  return null;
}
