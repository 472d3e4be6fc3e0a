// The measurements below the picture.

import { element } from "./element.js";
import { say } from "./words.js";

/**
 * @typedef {{ fps: number, targetFps: number, chunk: number | null, latency: number | null, latencyMedian: number | null,
 *   told: { received: number | null, applied: number | null }, buffered: number, leadMs: number, dropped: number, decodeMs: number | null,
 *   stats: import("./protocol.js").Stats | null }} Measured
 */

export class Meters {
  /** Nothing is going on. */
  clear() {
    for (const id of ["m-fps", "m-latency", "m-generate", "m-buffer"]) fill(id, "–", "");
    element("m-chunk").textContent = element("m-parts").textContent = "";
  }

  /** @param {Measured} measured */
  show({ fps, targetFps, chunk, latency, latencyMedian, told, buffered, leadMs, dropped, decodeMs, stats }) {
    // A second may hold one picture more than its share, and a walk that catches up some.
    fill("m-fps", String(Math.min(fps, targetFps)), say("of", { of: targetFps }));
    if (latency === null || latencyMedian === null) fill("m-latency", "–", "");
    else fill("m-latency", latency.toFixed(), say("ms_median", { median: latencyMedian.toFixed() }));
    element("m-chunk").textContent = chunk ?? "";
    fill("m-buffer", String(buffered), say("lead_ms", { ms: leadMs.toFixed() }));
    if (!stats) return;
    fill("m-generate", stats.ms.generate.toFixed(), say("of_ms", { of: ((1000 * stats.frames) / targetFps).toFixed() }));
    /** @type {[import("./words.js").Word, number | null][]} */
    const parts = [["part_text", stats.ms.text], ["part_dit", stats.ms.dit], ["part_vae", stats.ms.vae],
      ["part_encode", stats.ms.encode], ["part_write", stats.ms.write], ["part_pacing", stats.ms.wait],
      ["part_decode", decodeMs], ["part_received", told.received], ["part_applied", told.applied]];
    const shown = parts.flatMap(([word, ms]) => (ms === null ? [] : [say(word, { ms: ms.toFixed() })]));
    shown.push(say("a_picture", { kib: (stats.bytes / 1024 / Math.max(1, stats.frames)).toFixed(1) }));
    if (dropped > 0) shown.push(say("skipped", { count: dropped }));
    element("m-parts").textContent = shown.join(" · ");
  }
}

/** @param {string} id @param {string} value @param {string} aside */
function fill(id, value, aside) {
  const small = document.createElement("small");
  small.textContent = aside;
  element(id).replaceChildren(value, " ", small);
}
