// A worker: a clock for a tab that is hidden, where nothing is painted and a page's own timers are slowed to one a second.

/** @type {ReturnType<typeof setInterval> | undefined} */
let timer;

/** Milliseconds between ticks; null stops them. */
self.onmessage = (/** @type {MessageEvent<number | null>} */ { data: everyMs }) => {
  clearInterval(timer);
  if (everyMs !== null) timer = setInterval(() => self.postMessage(null), everyMs);
};
