// The canvas: as many pixels as the world draws, scaled to the stage by the browser.
//
// A film has a hidden canvas of its own, enlarged as the picture on the screen is.

import { filmScale } from "./film.js";

export class Screen {
  #canvas;
  #context;
  /** The hidden canvas that is filmed. @type {CanvasRenderingContext2D | null} */
  #film = null;

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
    this.#expose();
  }

  /** Draws on each picture of a film. @type {((context: CanvasRenderingContext2D) => void) | null} */
  burn = null;

  /** A video of everything shown from now on: a frame for each picture, at the time it is shown. @returns {MediaStream} */
  roll() {
    const { width, height } = this.#canvas;
    const scale = filmScale(this.#canvas);
    const film = document.createElement("canvas");
    Object.assign(film, { width: width * scale, height: height * scale });
    this.#film = film.getContext("2d", { alpha: false });
    if (!this.#film) throw new Error("this browser gives no second canvas");
    // Not at a rate: two clocks that beat would lose pictures.
    const stream = film.captureStream();
    this.#expose();
    return stream;
  }

  /** The picture that is shown, as a PNG file, enlarged as a film is. @returns {Promise<Blob>} */
  async snapshot() {
    const { width, height } = this.#canvas;
    const scale = filmScale(this.#canvas);
    const large = new OffscreenCanvas(width * scale, height * scale);
    const context = large.getContext("2d", { alpha: false });
    if (!context) throw new Error("this browser gives no second canvas");
    context.imageSmoothingEnabled = !this.#canvas.classList.contains("crisp");
    context.drawImage(this.#canvas, 0, 0, large.width, large.height);
    return large.convertToBlob({ type: "image/png" });
  }

  /** The film is over. */
  cut() {
    this.#film = null;
  }

  /**
   * The first frame as the world will see it: stretched to the size that it draws.
   * @param {ImageBitmap | null} bitmap null leaves the stage dark @param {import("./protocol.js").Size} size
   */
  preview(bitmap, size) {
    this.#fit(size);
    this.#context.imageSmoothingQuality = "high";
    // Also below a picture that lets something through: the walk begins on black there.
    this.#context.fillRect(0, 0, size.width, size.height);
    if (bitmap) this.#context.drawImage(bitmap, 0, 0, size.width, size.height);
  }

  /** @param {boolean} smooth between the world's pixels, or each a square */
  set smooth(smooth) {
    this.#canvas.classList.toggle("crisp", !smooth);
  }

  #expose() {
    if (!this.#film) return;
    const { width, height } = this.#film.canvas;
    this.#film.imageSmoothingEnabled = !this.#canvas.classList.contains("crisp");
    this.#film.drawImage(this.#canvas, 0, 0, width, height);
    this.burn?.(this.#film);
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
