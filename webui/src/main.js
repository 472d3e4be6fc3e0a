// The page: it joins the modules. Decisions are in the modules; this file has the phases of a visit.

import { socketBelow } from "./address.js";
import { makeFilm, progressText } from "./clip.js";
import { ClipPanel } from "./clip_panel.js";
import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { endingSentence, fileName, Film, filmType, timeText } from "./film.js";
import { FilmStore, isLeft, LEFT_AFTER_MS } from "./film_store.js";
import * as firstFrames from "./first_frame.js";
import { Latency } from "./latency.js";
import { Panel } from "./panel.js";
import { Pause } from "./pause.js";
import { Playback } from "./playback.js";
import { errorSentence, init, keysEvent, pauseEvent, promptEvent, resume, sizeText, standingText } from "./protocol.js";
import { Screen } from "./screen.js";
import { Steps } from "./steps.js";
import { health, world } from "./world.js";

/** Often enough for a person who waits for a model to load. */
const HEALTH_EVERY_MS = 1000;
const METERS_EVERY_MS = 250;
/** Between two attempts to come back. */
const RETURN_EVERY_MS = 500;
/** As often as most screens, which do not refresh for a tab that is hidden. */
const TICK_MS = 1000 / 60;
/** Pictures that may wait for the decoder. Past this, newer ones are dropped undecoded. */
const DECODING_MAX = 64;

/** The page's own address, which may be one below a path of a proxy. */
const PAGE = location.href;
const URL_OF_VIDEO = socketBelow("/v1/realtime_video", PAGE);

/** The key for a server that asks for one: the part of the address after `#key=`, which a browser sends to no server. */
const KEY = new URLSearchParams(location.hash.slice(1)).get("key");

/**
 * @typedef {{ bitmap: ImageBitmap, chunk: number, eventId: number | null }} Frame
 * @typedef {{ id: number, connection: Connection, playback: Playback<Frame>, stats: import("./protocol.js").Stats | null,
 *   decoding: number, undecoded: number, decodeMs: number | null, chunk: number | null, eventIdShown: number | null,
 *   framesShown: number, prompt: { text: string, eventId: number } | null,
 *   pause: Pause, token: string | null, graceMs: number, lostAt: number | null,
 *   resumes: number }} Session  One walk, over as many connections as it takes.
 */

/** @type {import("./phase.js").Phase} */
let phase = "loading";
/** @type {import("./world.js").Card} known from the first `ready` on */
let card;
/** @type {firstFrames.FirstFrame | null} */
let firstFrame = null;
/** @type {Session | null} */
let session = null;
/** The number of starts: a callback of an earlier start sees by it that it is outdated. */
let starts = 0;
let metersAt = 0;
/** What is being recorded. @type {Film | null} */
let film = null;
/** Null where the browser has no database for this page. @type {FilmStore | null} */
let films = null;
/** What keeps the film for a tab that closes. @type {ReturnType<FilmStore["begin"]> | null} */
let keeper = null;

/** Ends the film that the server makes for this page. @type {AbortController | null} */
let filmEnd = null;

const controls = new Controls();
const steps = new Steps();
const latency = new Latency();
const screen = new Screen(/** @type {HTMLCanvasElement} */ (document.getElementById("screen")));
const decoder = new Worker(new URL("./decoder.js", import.meta.url), { type: "module" });
const ticker = new Worker(new URL("./ticker.js", import.meta.url), { type: "module" });
const panel = new Panel({
  start,
  stop: () => {
    leave();
    enter("ready", "Stopped. Press Start to walk again.");
  },
  restart: () => {
    leave();
    start();
  },
  changePrompt,
  press: (action, holder) => {
    controls.press(action, holder, performance.now());
    sayKeys();
  },
  release: (holder) => {
    controls.release(holder, performance.now());
    sayKeys();
  },
  releaseAll: () => {
    controls.releaseAll(performance.now());
    sayKeys();
  },
  pick: (item) => {
    choose(firstFrames.fromGallery(item), { gallery: item.name });
    panel.prompt = item.prompt;
  },
  upload: async (file) => {
    try {
      choose(await firstFrames.fromFile(file), { file: file.name });
    } catch (error) {
      panel.alert(sentence(error));
    }
  },
  noPicture: () => choose(null, null),
  resized: preview,
  smooth: (smooth) => (screen.smooth = smooth),
  looked: sayPause,
  pause: () => {
    if (!session) return;
    session.pause.byHand = !session.pause.byHand;
    walk(session);
    sayPause();
  },
  record,
  wouldLose: () => film !== null && !keeper?.keeps,
  saveLeft: async (left) => {
    try {
      if (films) panel.save(await films.read(left), left.name);
    } catch (error) {
      panel.alert(`The recording could not be read: ${sentence(error)}`);
    }
  },
  removeLeft: async ({ id }) => {
    await films?.forget(id);
    offerLeft();
  },
});

const clipPanel = new ClipPanel({
  make,
  cancel: () => filmEnd?.abort(),
  walked: () => steps.script(card.fps, performance.now()),
});

const FILM_TYPE = "captureStream" in HTMLCanvasElement.prototype ? filmType(globalThis.MediaRecorder) : null;
if (!FILM_TYPE) panel.cannotRecord("This browser cannot record video");

/** @param {import("./phase.js").Phase} next @param {string} curtain @param {string} [more] */
function enter(next, curtain, more) {
  phase = next;
  panel.phase(next, curtain, more);
}

/** There are pictures, or will be as soon as the visitor wants to go on. @param {Session} of */
function walk({ pause }) {
  if (pause.byHand) enter("paused", "Paused. Press Resume or P to go on.");
  else enter("running", "");
}

const UNREADY = {
  unreachable: "The server does not answer. Trying again…",
  closing: "The server is closing down. Trying again…",
  strange: "Something else than Causeway answers at this address. Trying again…",
};

/** Wait until the server is there and its model loaded, then offer the world. */
async function findWorld() {
  for (;;) {
    const state = await health(PAGE);
    if (state === "ready") break;
    if (state === "loading") enter("loading", "The server is loading its world…");
    else enter("unreachable", UNREADY[state]);
    await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS));
  }
  const found = await world(PAGE);
  // The same world is back: what the visitor has chosen still holds.
  if (card && JSON.stringify(found.card) === JSON.stringify(card)) return enter("ready", "The server is back. Press Start.");
  card = found.card;
  panel.offer(card, found.gallery);
  clipPanel.steerable = card.keys.length > 0;
  enter("ready", "Press Start, then hold W.");
  const [item] = found.gallery;
  if (item) {
    choose(firstFrames.fromGallery(item), { gallery: item.name });
    panel.prompt = item.prompt;
  } else {
    choose(null, null);
  }
}

/**
 * @param {firstFrames.FirstFrame | null} chosen @param {Parameters<Panel["firstFrame"]>[0]} label
 */
function choose(chosen, label) {
  firstFrame = chosen;
  panel.firstFrame(label);
  preview();
}

/** Before the walk, the stage shows where it will begin. */
async function preview() {
  const chosen = firstFrame;
  if (session) return;
  try {
    const bitmap = (await chosen?.bitmap(panel.size)) ?? null;
    if (!session && chosen === firstFrame) screen.preview(bitmap, panel.size);
  } catch (error) {
    panel.alert(sentence(error));
  }
}

async function start() {
  const id = ++starts;
  panel.alert(null);
  let values, picture;
  try {
    if (phase === "lost" && (await health(PAGE)) !== "ready") {
      // The server that comes back may serve another world.
      return id === starts ? await findWorld() : undefined;
    }
    values = panel.values();
    if (card.needsFirstFrame && !firstFrame) throw new Error("Choose a first frame: this world starts from a picture.");
    enter("connecting", "Connecting…");
    picture = (await firstFrame?.bytes(values.size)) ?? null;
  } catch (error) {
    if (id !== starts) return;
    panel.alert(sentence(error));
    return enter("ready", "Not started.");
  }
  if (id !== starts) return; // stopped, or started again, meanwhile

  const now = performance.now();
  latency.begin();
  controls.begin(now);
  session = {
    id, connection: connect(init({ ...values, firstFrame: picture, fps: card.fps, key: KEY })),
    playback: new Playback(card.fps), stats: null, decoding: 0, undecoded: 0, decodeMs: null,
    chunk: null, eventIdShown: null, framesShown: 0, prompt: null, pause: new Pause(),
    token: null, graceMs: 0, lostAt: null, resumes: 0,
  };
  panel.pausable = false;
  panel.promptInUse(values.prompt, "");
  panel.focusStage();
  requestAnimationFrame(draw);
}

/** @param {object} first the message to begin with @returns {Connection} */
function connect(first) {
  const connection = new Connection(URL_OF_VIDEO, {
    opened: () => {
      connection.send(first);
      if (phase === "connecting") enter("starting", "The world is being set up…");
      sayKeys();
    },
    received: (message) => {
      if (!session) return;
      if (message.kind === "pictures") decode(session, message);
      else if (message.kind === "session") greet(session, message);
      else if (message.kind === "stats") session.stats = message;
      else if (message.kind === "queue") {
        const { short, sentence } = standingText(message);
        enter("waiting", sentence, short);
      } else if (message.kind === "error") {
        panel.alert(errorSentence(message));
        // An error before the first picture means that none will come; the socket would stay open and wait for another init.
        if (phase === "starting" || phase === "waiting") {
          leave();
          enter("ready", "Not started.");
        } else if (phase === "returning") {
          leave();
          enter("lost", errorSentence(message));
        }
      }
    },
    closed: (why, code) => {
      if (code === LINE_LOST && session?.token && comeBack(session)) return;
      leave();
      enter(code === 1000 ? "ready" : "lost", why);
    },
  });
  return connection;
}

/** The close code that a browser reports for a line that ended without a close frame. */
const LINE_LOST = 1006;

/**
 * Connect again, as long as the server waits for this session. Returns whether there is time left.
 * @param {Session} to
 */
function comeBack(to) {
  const now = performance.now();
  to.lostAt ??= now;
  steps.rest(now);
  to.pause.lost();
  if (now - to.lostAt > to.graceMs) return false;
  enter("returning", "The connection was lost. Coming back…");
  setTimeout(() => {
    // A chunk that was cut is sent again from its beginning.
    if (to === session) to.connection = connect(resume(/** @type {string} */ (to.token), to.stats?.chunk ?? null, KEY));
  }, RETURN_EVERY_MS);
  return true;
}

/** @param {Session} to @param {import("./protocol.js").Hello} hello */
function greet(to, { token, graceMs }) {
  if (to.lostAt !== null) {
    to.lostAt = null;
    to.resumes += 1;
    to.playback.clear().forEach(({ bitmap }) => bitmap.close());
    to.playback.rested();
    steps.goOn(performance.now());
    walk(to);
  }
  Object.assign(to, { token, graceMs });
  to.pause.hello();
  panel.pausable = true;
  sayPause();
}

/** The session ends here, whoever ended it. The last picture stays. */
function leave() {
  starts += 1;
  session?.connection.close();
  session?.playback.clear().forEach(({ bitmap }) => bitmap.close());
  session = null;
  steps.rest(performance.now());
  panel.meters(null);
  film?.end("session over");
}

function sayKeys() {
  panel.held(controls.held);
  steps.held(controls.held, performance.now());
  // Before there is a place there is nothing to steer: the server would have to keep every event.
  if (!session?.connection.open || phase === "waiting") return;
  const transitions = controls.take(session.connection.bufferedBytes);
  if (transitions) session.connection.send(keysEvent(latency.sent(performance.now()), transitions));
}

/** Pauses the session while nobody looks, and resumes it. */
function sayPause() {
  if (!session?.connection.open) return;
  const kind = session.pause.take(panel.hidden, film !== null);
  if (kind === null) return;
  session.connection.send(pauseEvent(kind));
  if (kind === "pause") return steps.rest(performance.now());
  steps.goOn(performance.now());
  // An input from before or during the pause waited for the visitor: its time says nothing about the server.
  latency.begin();
  session.playback.rested();
}

/** A film from the server, beside the walk. @param {import("./clip_panel.js").Asked} asked */
async function make({ prompt, seconds, script }) {
  if (!card) return clipPanel.say("The server is still loading its world.", true);
  const end = (filmEnd = new AbortController());
  clipPanel.show(null);
  clipPanel.progress(0);
  clipPanel.say("Asking…");
  try {
    const { size, seed, prompt: above } = panel.values();
    const picture = (await firstFrame?.bytes(size)) ?? null;
    const wish = { prompt: prompt || above, seconds, size: sizeText(size), seed, script, picture };
    const { file, job } = await makeFilm(PAGE, KEY, wish, (job) => {
      clipPanel.progress(job.progress);
      clipPanel.say(progressText(job));
    }, end.signal);
    clipPanel.show({ file, name: fileName(card.name, new Date(), file.type) });
    clipPanel.say(job.ignored.length > 0 ? `Done. The server made no use of: ${job.ignored.join(", ")}.` : "Done.");
  } catch (error) {
    if (end.signal.aborted) clipPanel.say("Cancelled.");
    else clipPanel.say(sentence(error), true);
  }
  clipPanel.progress(null);
}

/** Begins to record, or ends it. */
function record() {
  if (film) return film.end("asked");
  if (!FILM_TYPE) return;
  const name = fileName(card.name, new Date(), FILM_TYPE);
  try {
    const recorder = new MediaRecorder(screen.roll(), { mimeType: FILM_TYPE });
    film = new Film(recorder, performance.now(), (part) => keeper?.add(part, Date.now()), (file, ending) => keep(file, name, ending));
  } catch (error) {
    screen.cut();
    return panel.alert(`Recording did not begin: ${sentence(error)}`);
  }
  keeper = films?.begin(name, FILM_TYPE, Date.now()) ?? null;
  ticker.postMessage(TICK_MS);
  panel.recording(timeText(0));
}

/** @param {Blob} file @param {string} name @param {import("./film.js").Ending} ending */
function keep(file, name, ending) {
  const kept = keeper;
  film = keeper = null;
  screen.cut();
  ticker.postMessage(null);
  panel.recording(null);
  if (file.size > 0) panel.save(file, name);
  // If that fails, it is offered once more at a later visit.
  if (kept) films?.forget(kept.id).catch(() => {});
  const said = endingSentence(ending, file.size);
  if (said) panel.alert(said);
  // It may have ended while the tab is hidden.
  sayPause();
}

/** Offers the films that tabs left behind when they closed. */
async function offerLeft() {
  const kept = (await films?.films()) ?? [];
  const now = Date.now();
  const others = kept.filter(({ id }) => id !== keeper?.id);
  panel.leftFilm(others.find((film) => isLeft(film, now)) ?? null);
  // The others are of tabs that record, or closed just now.
  if (others.some((film) => !isLeft(film, now))) setTimeout(offerLeft, LEFT_AFTER_MS);
}

/** @param {string} text */
function changePrompt(text) {
  if (!session?.connection.open) return;
  const eventId = latency.sent(performance.now());
  session.connection.send(promptEvent(eventId, text));
  session.prompt = { text, eventId };
  panel.promptInUse(text, "Sent. The world changes with its next chunk.");
  panel.focusStage();
}

/** @param {Session} to @param {import("./protocol.js").Pictures} pictures */
function decode(to, pictures) {
  if (to.decoding + pictures.pieces.length > DECODING_MAX) {
    to.undecoded += pictures.pieces.length;
    return;
  }
  to.decoding += pictures.pieces.length;
  /** @type {import("./decoder.js").Job} */
  const job = { session: to.id, pictures };
  // All pieces are views of one buffer: it goes over whole, and uncopied.
  decoder.postMessage(job, pictures.pieces.length > 0 ? [pictures.pieces[0].buffer] : []);
}

decoder.onmessage = (/** @type {MessageEvent<import("./decoder.js").Decoded>} */ { data: decoded }) => {
  const { chunk, eventId, bitmaps } = decoded;
  if (decoded.session !== session?.id) return bitmaps.forEach((bitmap) => bitmap.close());
  session.decoding -= decoded.count;
  session.decodeMs = decoded.decodeMs;
  if (decoded.error !== null) return panel.alert(`A picture could not be decoded: ${decoded.error}.`);
  const frames = bitmaps.map((bitmap) => ({ bitmap, chunk, eventId }));
  session.playback.push(chunk, frames, performance.now()).forEach(({ bitmap }) => bitmap.close());
};

decoder.onerror = (/** @type {ErrorEvent} */ event) => panel.alert(`The picture decoder stopped: ${event.message}.`);

/** @param {number} now */
function draw(now) {
  if (!session) return;
  requestAnimationFrame(draw);
  advance(session, now);
}

ticker.onmessage = () => {
  if (session && panel.hidden) advance(session, performance.now());
};

/** @param {Session} of @param {number} now */
function advance(of, now) {
  sayKeys();
  const due = of.playback.due(now);
  const frame = due.pop();
  due.forEach(({ bitmap }) => bitmap.close());
  if (frame) show(of, frame, now);
  film?.tick(now);
  keeper?.seen(Date.now());
  if (now - metersAt >= METERS_EVERY_MS) {
    metersAt = now;
    panel.meters(meters(of, now));
    if (film) panel.recording(timeText(film.elapsedMs(now)));
  }
}

/** @param {Session} of @param {Frame} frame @param {number} now */
function show(of, { bitmap, chunk, eventId }, now) {
  screen.show(bitmap);
  if (phase === "starting" || phase === "waiting") {
    walk(of);
    if (of.framesShown === 0) steps.begin(controls.held, now);
  }
  latency.shown(eventId, now);
  of.chunk = chunk;
  of.eventIdShown = eventId;
  of.framesShown += 1;
  if (of.prompt && eventId !== null && eventId >= of.prompt.eventId) {
    panel.promptInUse(of.prompt.text, `In the picture since chunk ${chunk}.`);
    of.prompt = null;
  }
}

/** @param {Session} of @param {number} now @returns {import("./panel.js").Meters} */
function meters({ playback, chunk, stats, decodeMs, undecoded }, now) {
  return {
    fps: playback.fps(now),
    targetFps: card.fps,
    chunk,
    latency: latency.last,
    latencyMedian: latency.median,
    buffered: playback.buffered,
    leadMs: playback.lead,
    dropped: playback.dropped + undecoded,
    decodeMs,
    stats,
  };
}

/** @param {unknown} error */
function sentence(error) {
  const said = error instanceof Error ? error.message : String(error);
  return `${said.charAt(0).toUpperCase()}${said.slice(1).replace(/\.$/, "")}.`;
}

/** What a test, or a curious visitor's console, may look at. */
Object.defineProperty(window, "causeway", {
  value: Object.freeze({
    get phase() { return phase; },
    get held() { return controls.held; },
    get fps() { return session?.playback.fps(performance.now()) ?? 0; },
    get chunk() { return session?.chunk ?? null; },
    get lastEventId() { return latency.lastId; },
    get eventIdShown() { return session?.eventIdShown ?? null; },
    get framesShown() { return session?.framesShown ?? 0; },
    get framesSkipped() { return (session?.playback.dropped ?? 0) + (session?.undecoded ?? 0); },
    get paused() { return session?.pause.told ?? false; },
    get recording() { return film !== null; },
    get resumes() { return session?.resumes ?? 0; },
    get latencyMs() { return latency.last; },
    get stats() { return session?.stats ?? null; },
  }),
});

FilmStore.open().then(
  (store) => {
    films = store;
    offerLeft();
  },
  () => {}, // then the page asks before it closes while it records
);

findWorld().catch((error) => {
  panel.alert(`The server's description of its world could not be used: ${sentence(error)}`);
  enter("unreachable", "This page and this server do not understand each other.");
});
