// Which part of a visitor's own picture becomes the first frame: as much as has the world's proportions, moved along the side
// that is left over.

/** @typedef {import("./protocol.js").Size} Size */

/**
 * The part that is used.
 * @param {Size} whole @param {Size} size the world's @param {number} place 0: the left or upper end, 1: the other one
 * @returns {{ left: number, top: number, width: number, height: number }} in pixels of the picture
 */
export function part(whole, size, place) {
  const scale = Math.min(whole.width / size.width, whole.height / size.height);
  const width = Math.max(1, Math.round(size.width * scale));
  const height = Math.max(1, Math.round(size.height * scale));
  return { left: Math.round((whole.width - width) * place), top: Math.round((whole.height - height) * place), width, height };
}

/** How much there is to choose from: 0 for a picture that is used whole. @param {Size} whole @param {Size} size */
export function room(whole, size) {
  const { width, height } = part(whole, size, 0);
  return Math.max(whole.width - width, whole.height - height) >= 2
    ? Math.max(whole.width / width, whole.height / height) - 1
    : 0;
}

/**
 * The place after the picture was dragged.
 * @param {Size} whole @param {Size} size @param {number} place @param {number} x @param {number} y in shown widths and heights
 */
export function dragged(whole, size, place, x, y) {
  const free = room(whole, size);
  if (free === 0) return place;
  const along = whole.width * size.height > whole.height * size.width ? x : y;
  return Math.min(1, Math.max(0, place - along / free));
}
