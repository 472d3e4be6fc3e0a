// The picture that a walk starts from, as bytes for the server and as a bitmap for the eye.
//
// A server stretches what it gets to the world's size. A gallery's pictures are made for that and go as they are; a
// visitor's own is cut to the world's proportions here, so that nobody's face gets wide and no 40 MB photo is sent.

import { dragged, part, room } from "./crop.js";

/** @typedef {import("./protocol.js").Size} Size */

/**
 * @typedef {{ name: string, own: boolean, bytes: (size: Size) => Promise<Uint8Array>,
 *   bitmap: (size: Size) => Promise<ImageBitmap>, room: (size: Size) => number, place: number,
 *   drag: (size: Size, x: number, y: number) => void }} FirstFrame  `room`: how much there is to choose a part from, 0: none.
 *   `place`: which part, 0 … 1.
 */

/**
 * @param {import("./world.js").GalleryItem} item
 * @returns {FirstFrame}
 */
export function fromGallery({ name, url }) {
  const blob = fetch(url).then((response) => {
    if (!response.ok) throw new Error(`the picture ${name} could not be fetched: the server answered ${response.status}`);
    return response.blob();
  });
  // Reported by whoever asks; a picture that nobody asks for any more is no error.
  blob.catch(() => {});
  return {
    name,
    own: false,
    room: () => 0,
    place: 0,
    drag: () => {},
    bytes: async () => new Uint8Array(await (await blob).arrayBuffer()),
    bitmap: async () => createImageBitmap(await blob),
  };
}

/**
 * @param {File} file
 * @returns {Promise<FirstFrame>}
 * @throws if the browser cannot read it as a picture
 */
export async function fromFile(file) {
  const whole = await createImageBitmap(file).catch(() => {
    throw new Error(`“${file.name}” is not a picture that this browser can read`);
  });
  let place = 0.5;
  /** @param {Size} size */
  const bitmap = (size) => {
    const { left, top, width, height } = part(whole, size, place);
    return createImageBitmap(whole, left, top, width, height, {
      resizeWidth: size.width,
      resizeHeight: size.height,
      resizeQuality: "high",
    });
  };
  return {
    name: file.name,
    own: true,
    bitmap,
    room: (size) => room(whole, size),
    get place() { return place; },
    set place(next) { place = next; },
    drag: (size, x, y) => (place = dragged(whole, size, place, x, y)),
    bytes: async (size) => {
      const canvas = new OffscreenCanvas(size.width, size.height);
      const context = canvas.getContext("2d", { alpha: false });
      if (!context) throw new Error("this browser gives no 2D canvas");
      context.drawImage(await bitmap(size), 0, 0);
      const blob = await canvas.convertToBlob({ type: "image/png" });
      return new Uint8Array(await blob.arrayBuffer());
    },
  };
}
