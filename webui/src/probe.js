// `window.causeway`: what a test, or a curious visitor's console, may look at.

/** @param {import("./walk.js").Walk} walk @param {import("./walk.js").Parts} parts */
export function expose(walk, { visit, controls, latency, recorder }) {
  Object.defineProperty(window, "causeway", {
    value: Object.freeze({
      get phase() { return visit.phase; },
      get held() { return controls.held; },
      get fps() { return walk.session?.pictures.fps(performance.now()) ?? 0; },
      get chunk() { return walk.session?.chunk ?? null; },
      get lastEventId() { return latency.lastId; },
      get eventIdShown() { return walk.session?.eventIdShown ?? null; },
      get framesShown() { return walk.session?.framesShown ?? 0; },
      get framesSkipped() { return walk.session?.pictures.skipped ?? 0; },
      get paused() { return walk.session?.pause.told ?? false; },
      get recording() { return recorder.recording; },
      get session() { return walk.session?.begun?.session ?? null; },
      get videos() { return walk.session?.videos ?? 0; },
      get resumes() { return walk.session?.line.resumes ?? 0; },
      get latencyMs() { return latency.last; },
      get stats() { return walk.session?.stats ?? null; },
    }),
  });
}
