// The canvas: as many pixels as the world draws, scaled to the stage by the browser, or by the graphics processor into a second
// canvas above it (`sharp`).
//
// A film has a hidden canvas of its own, enlarged as the picture on the screen is.

import { filmScale } from "./film.js";
import { Sharp } from "./sharp.js";

/** @typedef {"smooth" | "sharp" | "crisp"} How  Between the world's pixels: blended, edges kept, or each pixel a square. */

export class Screen {
  #canvas;
  #above;
  #context;
  /** @type {How} */
  #how = "smooth";
  /** @type {Sharp | null} made when it is first wanted */
  #sharp = null;
  /** The hidden canvas that is filmed. @type {CanvasRenderingContext2D | null} */
  #film = null;

  /** @param {HTMLCanvasElement} canvas @param {HTMLCanvasElement} above for the sharp picture */
  constructor(canvas, above) {
    this.#canvas = canvas;
    this.#above = above;
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("This browser gives no 2D canvas.");
    this.#context = context;
    new ResizeObserver(() => this.#sharpen()).observe(canvas);
  }

  /**
   * A picture of the video: shown pixel for pixel, then freed.
   * @param {ImageBitmap} bitmap
   */
  show(bitmap) {
    this.#fit(bitmap);
    this.#context.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.#sharpen();
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
    this.#sharpen(); // what a graphics processor drew earlier may be gone
    this.#enlarge(context);
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
    this.#sharpen();
  }

  /** How it enlarges. @returns {How} */
  get how() {
    return this.#how;
  }

  /**
   * How to enlarge from now on.
   * @param {How | null} how null: sharp where a graphics card does it, else smooth
   * @throws if it cannot be sharp; then it is as before
   */
  set how(how) {
    if (how === "sharp" || how === null) {
      try {
        if (!this.#sharp || this.#sharp.lost) this.#sharp = new Sharp(this.#above, how === null);
      } catch (error) {
        if (how === "sharp") throw error;
        how = "smooth";
      }
    }
    this.#how = how ?? "sharp";
    this.#above.hidden = this.#how !== "sharp";
    this.#canvas.classList.toggle("crisp", this.#how === "crisp");
    this.#sharpen();
  }

  #sharpen() {
    if (this.#how !== "sharp" || !this.#sharp) return;
    const { clientWidth, clientHeight } = this.#canvas;
    this.#sharp.draw(this.#canvas, { width: clientWidth * devicePixelRatio, height: clientHeight * devicePixelRatio });
  }

  #expose() {
    if (!this.#film) return;
    this.#enlarge(this.#film);
    this.burn?.(this.#film);
  }

  /** @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} large */
  #enlarge(large) {
    const { width, height } = large.canvas;
    large.imageSmoothingEnabled = this.#how !== "crisp";
    large.drawImage(this.#how === "sharp" ? this.#above : this.#canvas, 0, 0, width, height);
  }

  /** @param {import("./protocol.js").Size} size */
  #fit({ width, height }) {
    // Setting a canvas's size clears it, so only when it differs.
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    for (const canvas of [this.#canvas, this.#above]) canvas.style.setProperty("--ratio", String(width / height));
  }
}
