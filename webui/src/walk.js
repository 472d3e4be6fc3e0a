// A walk, from Start to its end: what the server says, and what it is told.

import { Connection } from "./connection.js";
import { FieldError } from "./panel.js";
import { Pause } from "./pause.js";
import { Pictures } from "./pictures.js";
import { errorSentence, init, keysEvent, pauseEvent, promptEvent, resume, standingText } from "./protocol.js";
import { heldAt } from "./script.js";
import { sentence } from "./sentence.js";

/** Between two attempts to come back. */
const RETURN_EVERY_MS = 500;
const METERS_EVERY_MS = 250;
/** The close code that a browser reports for a line that ended without a close frame. */
const LINE_LOST = 1006;

/**
 * @typedef {{ id: number, connection: Connection, pictures: Pictures, stats: import("./protocol.js").Stats | null,
 *   chunk: number | null, eventIdShown: number | null, framesShown: number, prompt: { text: string, eventId: number } | null,
 *   pause: Pause, token: string | null, graceMs: number, lostAt: number | null,
 *   resumes: number, script: string[][] }} Session  One walk, over as many connections as it takes. `script`: the keys that it
 *   began with, until a hand takes over.
 * @typedef {{ visit: import("./visit.js").Visit, panel: import("./panel.js").Panel,
 *   tools: import("./tools.js").Tools, pads: import("./pads.js").Pads, hands: import("./hands.js").Hands, hud: import("./hud.js").Hud, guide: import("./guide.js").Guide, sharing: import("./sharing.js").Sharing,
 *   beginning: import("./beginning.js").Beginning, recorder: import("./recorder.js").Recorder,
 *   screen: import("./screen.js").Screen, controls: import("./controls.js").Controls,
 *   steps: import("./steps.js").Steps, latency: import("./latency.js").Latency }} Parts  What the page has one of.
 */

export class Walk {
  #url;
  #key;
  #parts;
  #decoder = new Worker(new URL("./decoder.js", import.meta.url), { type: "module" });
  /** The number of starts: a callback of an earlier start sees by it that it is outdated. */
  #starts = 0;
  #metersAt = 0;
  /** @type {Session | null} */
  session = null;

  /**
   * @param {string} url of the socket
   * @param {string | null} key for a server that asks for one
   * @param {Parts} parts
   */
  constructor(url, key, parts) {
    this.#url = url;
    this.#key = key;
    this.#parts = parts;
    this.#decoder.onmessage = ({ data }) => this.#decoded(data);
    this.#decoder.onerror = ({ message }) => parts.panel.alert(`The picture decoder stopped: ${message}.`);
  }

  /** @param {string[][]} [script] the keys of the first steps */
  async start(script = []) {
    const { visit, panel, tools, beginning, controls, latency } = this.#parts;
    const id = ++this.#starts;
    panel.alert(null);
    let values, picture;
    try {
      if (visit.phase === "lost" && !(await visit.isReady())) {
        // The server that comes back may serve another world.
        return id === this.#starts ? await visit.findWorld() : undefined;
      }
      values = panel.values();
      if (visit.card.needsFirstFrame && !beginning.picture) {
        throw new Error("Choose a first frame: this world starts from a picture.");
      }
      visit.enter("connecting", "Connecting…");
      picture = await beginning.bytes(values.size);
    } catch (error) {
      if (id !== this.#starts) return;
      if (error instanceof FieldError) {
        panel.focusField(error.field);
        return visit.enter("ready", `Not started. ${sentence(error)}`);
      }
      panel.alert(sentence(error));
      return visit.enter("ready", "Not started.");
    }
    if (id !== this.#starts) return; // stopped, or started again, meanwhile

    const { fps } = visit.card;
    latency.begin();
    controls.begin(performance.now());
    this.session = {
      id, connection: this.#connect(init({ ...values, firstFrame: picture, fps, key: this.#key, script })),
      pictures: new Pictures(id, this.#decoder, fps), stats: null,
      chunk: null, eventIdShown: null, framesShown: 0, prompt: null, pause: new Pause(),
      token: null, graceMs: 0, lostAt: null, resumes: 0, script,
    };
    tools.pausable = false;
    panel.promptInUse(values.prompt, "");
    panel.began();
    this.#parts.sharing.began(visit.card);
    panel.focusStage();
    requestAnimationFrame(this.#draw);
  }

  stop() {
    this.#leave();
    this.#parts.visit.enter("ready", "Stopped. Press Start to walk again.");
  }

  restart() {
    this.#leave();
    this.start();
  }

  /** The visitor pauses the world, or goes on. */
  pause() {
    if (!this.session) return;
    this.session.pause.byHand = !this.session.pause.byHand;
    this.#walk(this.session);
    this.sayPause();
  }

  /** @param {string} text */
  changePrompt(text) {
    const { panel, latency } = this.#parts;
    if (!this.session?.connection.open) return;
    const eventId = latency.sent(performance.now());
    this.session.connection.send(promptEvent(eventId, text));
    this.session.prompt = { text, eventId };
    this.#parts.guide.prompted();
    panel.promptInUse(text, "Sent. The world changes with its next chunk.");
    panel.focusStage();
  }

  sayKeys() {
    const { visit, pads, guide, controls, steps, latency } = this.#parts;
    // The server drops a script for the first key, too.
    if (this.session && controls.held.length > 0) this.session.script = [];
    const { held } = this;
    pads.held(held);
    guide.held(controls.held);
    steps.held(held, performance.now());
    // Before there is a place there is nothing to steer: the server would have to keep every event.
    if (!this.session?.connection.open || visit.phase === "waiting") return;
    const transitions = controls.take(this.session.connection.bufferedBytes);
    if (transitions) this.session.connection.send(keysEvent(latency.sent(performance.now()), transitions));
  }

  /** Pauses the session while nobody looks, and resumes it. */
  sayPause() {
    const { recorder, steps, latency } = this.#parts;
    if (!this.session?.connection.open) return;
    const kind = this.session.pause.take(document.hidden, recorder.recording);
    if (kind === null) return;
    this.session.connection.send(pauseEvent(kind));
    if (kind === "pause") return steps.rest(performance.now());
    steps.goOn(performance.now());
    // An input from before or during the pause waited for the visitor: its time says nothing about the server.
    latency.begin();
    this.#parts.hud.timeline.rested();
    this.session.pictures.rested();
  }

  /** What is held: by hands, or by the script that the walk began with. */
  get held() {
    const { session } = this;
    return session && session.script.length > 0 ? heldAt(session.script, session.framesShown - 1) : this.#parts.controls.held;
  }

  /** What is held and wished for now. @returns {import("./inputs.js").Inputs} */
  get inputs() {
    const { hands, panel } = this.#parts;
    return { held: this.held, rates: hands.rates, prompt: panel.promptShown };
  }

  /** Shows what is due. To be called often. @param {number} now */
  advance(now) {
    if (!this.session) return;
    this.#parts.controls.hold("hands", this.#parts.hands.keys(now), now);
    this.sayKeys();
    const frame = this.session.pictures.due(now);
    if (frame) this.#show(this.session, frame, now);
    const { recorder, hud } = this.#parts;
    recorder.tick(now);
    hud.inputs(this.inputs);
    if (now - this.#metersAt < METERS_EVERY_MS) return;
    this.#metersAt = now;
    hud.measured(this.#measured(this.session, now));
    recorder.sayTime(now);
  }

  /** There are pictures, or will be as soon as the visitor wants to go on. @param {Session} of */
  #walk({ pause }) {
    const { visit } = this.#parts;
    if (pause.byHand) visit.enter("paused", "Paused. Press Resume or P to go on.");
    else visit.enter("running", "");
  }

  /** @param {object} first the message to begin with @returns {Connection} */
  #connect(first) {
    const { visit } = this.#parts;
    const connection = new Connection(this.#url, {
      opened: () => {
        connection.send(first);
        if (visit.phase === "connecting") visit.enter("starting", "The world is being set up…");
        this.sayKeys();
      },
      received: (message) => this.session && this.#received(this.session, message),
      closed: (why, code) => {
        if (code === LINE_LOST && this.session?.token && this.#comeBack(this.session)) return;
        this.#leave();
        visit.enter(code === 1000 ? "ready" : "lost", why);
      },
    });
    return connection;
  }

  /** @param {Session} to @param {Parameters<ConstructorParameters<typeof Connection>[1]["received"]>[0]} message */
  #received(to, message) {
    const { visit, panel } = this.#parts;
    if (message.kind === "pictures") to.pictures.decode(message);
    else if (message.kind === "session") this.#greet(to, message);
    else if (message.kind === "stats") to.stats = message;
    else if (message.kind === "queue") {
      const { short, sentence } = standingText(message);
      visit.enter("waiting", sentence, short);
    } else if (message.kind === "error") {
      panel.alert(errorSentence(message));
      // An error before the first picture means that none will come; the socket would stay open and wait for another init.
      if (visit.phase === "starting" || visit.phase === "waiting") {
        this.#leave();
        visit.enter("ready", "Not started.");
      } else if (visit.phase === "returning") {
        this.#leave();
        visit.enter("lost", errorSentence(message));
      }
    }
  }

  /**
   * Connect again, as long as the server waits for this session. Returns whether there is time left.
   * @param {Session} to
   */
  #comeBack(to) {
    const now = performance.now();
    to.lostAt ??= now;
    this.#parts.steps.rest(now);
    to.pause.lost();
    if (now - to.lostAt > to.graceMs) return false;
    this.#parts.visit.enter("returning", "The connection was lost. Coming back…");
    setTimeout(() => {
      // A chunk that was cut is sent again from its beginning.
      const again = resume(/** @type {string} */ (to.token), to.stats?.chunk ?? null, this.#key);
      if (to === this.session) to.connection = this.#connect(again);
    }, RETURN_EVERY_MS);
    return true;
  }

  /** @param {Session} to @param {import("./protocol.js").Hello} hello */
  #greet(to, { token, graceMs }) {
    if (to.lostAt !== null) {
      to.lostAt = null;
      to.resumes += 1;
      to.pictures.clear();
      to.pictures.rested();
      this.#parts.steps.goOn(performance.now());
      this.#walk(to);
    }
    Object.assign(to, { token, graceMs });
    to.pause.hello();
    this.#parts.tools.pausable = true;
    this.sayPause();
  }

  /** The session ends here, whoever ended it. The last picture stays. */
  #leave() {
    this.#starts += 1;
    this.session?.connection.close();
    this.session?.pictures.clear();
    this.session = null;
    this.#parts.steps.rest(performance.now());
    this.#parts.hud.clear();
    this.#parts.guide.end();
    this.#parts.recorder.walkEnded();
  }

  /** @param {import("./decoder.js").Decoded} decoded */
  #decoded(decoded) {
    if (decoded.session !== this.session?.id) return decoded.bitmaps.forEach((bitmap) => bitmap.close());
    const problem = this.session.pictures.decoded(decoded, performance.now());
    if (problem) this.#parts.panel.alert(problem);
  }

  /** @param {number} now */
  #draw = (now) => {
    if (!this.session) return;
    requestAnimationFrame(this.#draw);
    this.advance(now);
  };

  /** @param {Session} of @param {import("./pictures.js").Frame} frame @param {number} now */
  #show(of, { bitmap, chunk, eventId }, now) {
    const { visit, panel, screen, hud, guide, steps, latency } = this.#parts;
    screen.show(bitmap);
    hud.timeline.shown(now, eventId);
    if (visit.phase === "starting" || visit.phase === "waiting") {
      this.#walk(of);
      if (of.framesShown === 0) {
        steps.begin(this.held, now);
        guide.begin(visit.card);
      }
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

  /** @param {Session} of @param {number} now @returns {import("./meters.js").Measured} */
  #measured({ pictures, chunk, stats }, now) {
    const { visit, latency } = this.#parts;
    return {
      fps: pictures.fps(now),
      targetFps: visit.card.fps,
      chunk,
      latency: latency.last,
      latencyMedian: latency.median,
      buffered: pictures.buffered,
      leadMs: pictures.leadMs,
      dropped: pictures.skipped,
      decodeMs: pictures.decodeMs,
      stats,
    };
  }
}
