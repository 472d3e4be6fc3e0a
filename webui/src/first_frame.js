// The picture that a walk starts from, as bytes for the server and as a bitmap for the eye.
//
// A server stretches what it gets to the world's size. A gallery's pictures are made for that and go as they are; a
// visitor's own is cut to the world's proportions here, so that nobody's face gets wide and no 40 MB photo is sent.

/** @typedef {import("./protocol.js").Size} Size */

/** @typedef {{ name: string, bytes: (size: Size) => Promise<Uint8Array>, bitmap: (size: Size) => Promise<ImageBitmap> }} FirstFrame */

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
  /** @param {Size} size */
  const bitmap = ({ width, height }) => {
    const scale = Math.min(whole.width / width, whole.height / height);
    const [cutWidth, cutHeight] = [Math.round(width * scale), Math.round(height * scale)];
    const [left, top] = [(whole.width - cutWidth) >> 1, (whole.height - cutHeight) >> 1];
    return createImageBitmap(whole, left, top, Math.max(1, cutWidth), Math.max(1, cutHeight), {
      resizeWidth: width,
      resizeHeight: height,
      resizeQuality: "high",
    });
  };
  return {
    name: file.name,
    bitmap,
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
