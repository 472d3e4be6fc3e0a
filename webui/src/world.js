// What this server offers: is it ready, which world, which pictures to start from. All of it over plain HTTP.

/**
 * @typedef {import("./protocol.js").Size} Size
 * @typedef {{ only: Size[] } | { multiple: number, pixelsMax: number }} Sizes
 * @typedef {{ name: string, sizes: Sizes, defaultSize: Size, fps: number, chunk: number, needsFirstFrame: boolean,
 *   presets: string[], keys: string[] }} Card
 * @typedef {{ name: string, prompt: string, url: string }} GalleryItem
 * @typedef {"ready" | "loading" | "unreachable"} Health
 */

/**
 * @returns {Promise<Health>}
 */
export async function health() {
  try {
    const response = await fetch("/health", { cache: "no-store" });
    return response.ok ? "ready" : "loading";
  } catch {
    return "unreachable";
  }
}

/**
 * @returns {Promise<{ card: Card, gallery: GalleryItem[] }>}
 */
export async function world() {
  const [models, gallery] = await Promise.all([json("/v1/models"), json("/v1/gallery")]);
  return {
    card: card(models.data[0]),
    gallery: gallery.map((/** @type {any} */ item) => ({ name: item.name, prompt: item.prompt, url: item.image })),
  };
}

/** @param {string} path */
async function json(path) {
  const response = await fetch(path, { cache: "no-store" });
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
  };
}

/**
 * `832x480`, as everywhere on the wire.
 * @param {string} text
 * @returns {Size}
 */
export function size(text) {
  const [, width, height] = /^\s*(\d+)\s*[x×]\s*(\d+)\s*$/i.exec(text) ?? [];
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
    return drawn ? null : `this world draws ${sizes.only.map(({ width, height }) => `${width}×${height}`).join(", ")}`;
  }
  if (width % sizes.multiple || height % sizes.multiple) return `both sides must be multiples of ${sizes.multiple}`;
  if (width * height > sizes.pixelsMax) return `at most ${sizes.pixelsMax.toLocaleString("en")} pixels`;
  return null;
}
