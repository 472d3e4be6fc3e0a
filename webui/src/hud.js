// Over the picture, all of it hidden at first: the measurements and the timeline, and what is held. Below it, one line.

import { element } from "./element.js";
import { drawInputs } from "./inputs.js";
import { drawTimeline, Timeline } from "./timeline.js";
import { say } from "./words.js";

const RATE_AFTER_MS = 1500;

export class Hud {
  #settings;
  #meters;
  #labels;
  #graph = context(element("timeline"));
  #layer = context(element("inputs"));
  #drawn = "";
  /** When the walk was measured first. @type {number | null} */
  #began = null;
  timeline = new Timeline();

  /**
   * @param {import("./settings.js").Settings} settings @param {import("./meters.js").Meters} meters
   * @param {(action: string) => string} labels what is written on the key of an action
   */
  constructor(settings, meters, labels) {
    this.#settings = settings;
    this.#meters = meters;
    this.#labels = labels;
    element("hud-button").addEventListener("click", () => settings.set({ hud: !settings.values.hud }));
    settings.listen(({ hud, overlay }) => {
      element("hud").hidden = !hud;
      element("hud-button").setAttribute("aria-pressed", String(hud));
      element("inputs").hidden = !overlay;
      this.#drawn = "";
    });
    new ResizeObserver(() => (this.#drawn = "")).observe(element("stage"));
    this.clear();
  }

  /** Nothing is going on. */
  clear() {
    this.#began = null;
    this.timeline.clear();
    this.#meters.clear();
    element("line").textContent = say("line_still");
  }

  /** Not for every picture. @param {import("./meters.js").Measured} measured @param {number} now */
  measured(measured, now) {
    this.#began ??= now;
    const { fps, targetFps, latencyMedian } = measured;
    const shown = Math.min(fps, targetFps);
    // Of the first second there is no rate yet.
    element("line").textContent = now - this.#began < RATE_AFTER_MS ? say("line_still")
      : latencyMedian === null ? say("line", { fps: shown })
      : say("line_latency", { fps: shown, ms: latencyMedian.toFixed() });
    if (!this.#settings.values.hud) return;
    this.#meters.show(measured);
    drawTimeline(this.#graph, this.timeline.bars, 1000 / targetFps);
  }

  /** For every picture. @param {import("./inputs.js").Inputs} inputs */
  inputs(inputs) {
    if (!this.#settings.values.overlay) return;
    const drawn = JSON.stringify(inputs);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const { canvas } = this.#layer;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    Object.assign(canvas, { width, height }); // this clears it
    // The prompt stands in its field already.
    drawInputs(this.#layer, inputs, { labels: this.#labels, prompt: false });
  }
}

/** @param {HTMLCanvasElement} canvas */
function context(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser gives no 2D canvas.");
  return context;
}
