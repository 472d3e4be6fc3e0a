// The canvas: as many pixels as the world draws, scaled to the stage by the browser.

export class Screen {
  #canvas;
  #context;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("This browser gives no 2D canvas.");
    this.#context = context;
  }

  /**
   * A picture of the video: shown pixel for pixel, then freed.
   * @param {ImageBitmap} bitmap
   */
  show(bitmap) {
    this.#fit(bitmap);
    this.#context.drawImage(bitmap, 0, 0);
    bitmap.close();
  }

  /**
   * The first frame as the world will see it: stretched to the size that it draws.
   * @param {ImageBitmap | null} bitmap null leaves the stage dark @param {import("./protocol.js").Size} size
   */
  preview(bitmap, size) {
    this.#fit(size);
    this.#context.imageSmoothingQuality = "high";
    if (bitmap) this.#context.drawImage(bitmap, 0, 0, size.width, size.height);
    else this.#context.fillRect(0, 0, size.width, size.height);
  }

  /** @param {boolean} smooth between the world's pixels, or each a square */
  set smooth(smooth) {
    this.#canvas.classList.toggle("crisp", !smooth);
  }

  /** @param {import("./protocol.js").Size} size */
  #fit({ width, height }) {
    // Setting a canvas's size clears it, so only when it differs.
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#canvas.style.setProperty("--ratio", String(width / height));
  }
}
