// A walk, from Start to its end: what the server says, and what it is told.

import { closed, lastWord, refused } from "./ending.js";
import { Line } from "./line.js";
import { FieldError } from "./panel.js";
import { Pause } from "./pause.js";
import { Pictures } from "./pictures.js";
import { LineClock } from "./line_clock.js";
import {
  clockEvent, errorSentence, init, keyFrameEvent, keysEvent, ledEvent, pauseEvent, promptEvent, resetEvent, rewindEvent, standingText, waitEvent, watch,
} from "./protocol.js";
import { heldAt } from "./script.js";
import { sentence } from "./sentence.js";
import { Silence, stalledText } from "./silence.js";
import { say } from "./words.js";

/** A key frame is several times as large as another: ask for the next one when this one had time to come. */
const KEY_FRAME_EVERY_MS = 1000;
/** Between two attempts to get a place. */
const PLACE_EVERY_MS = 5000;
/** How often the queue is told that somebody is still there: three times in the minute that a server waits by default. */
const STILL_EVERY_MS = 20_000;
const METERS_EVERY_MS = 250;
const PICTURES_PER_LATENT_FRAME = 4;
/** How far one press goes back. */
const BACK_SECONDS = 5;

/**
 * @typedef {{ id: number, line: Line, pictures: Pictures, stats: import("./protocol.js").Stats | null,
 *   chunk: number | null, eventIdShown: number | null, framesShown: number, prompt: { text: string, eventId: number } | null,
 *   pause: Pause, silence: Silence, saidToWaitAt: number, keyAskedAt: number, lastWord: import("./ending.js").Ending | null, script: string[][],
 *   begun: import("./protocol.js").Begun | null, format: string, videos: number, resetting: number | null, watches: boolean }} Session  One walk, over as many
 *   connections as it takes. `script`: the keys that it began with, until a hand takes over.
 *   `videos`: how many it has begun; `resetting`: the event that asked for the next. `watches`: somebody else walks.
 * @typedef {{ visit: import("./visit.js").Visit, panel: import("./panel.js").Panel,
 *   tools: import("./tools.js").Tools, pads: import("./pads.js").Pads, hands: import("./hands.js").Hands, hud: import("./hud.js").Hud, guide: import("./guide.js").Guide, sharing: import("./sharing.js").Sharing, audience: import("./audience.js").Audience,
 *   beginning: import("./beginning.js").Beginning, keyField: import("./key_field.js").KeyField,
 *   recorder: import("./recorder.js").Recorder, kept: import("./kept.js").Kept,
 *   screen: import("./screen.js").Screen, controls: import("./controls.js").Controls,
 *   steps: import("./steps.js").Steps, latency: import("./latency.js").Latency, strangers: import("./strangers.js").Strangers }} Parts  What the page has one of.
 */

export class Walk {
  #url;
  #key;
  #parts;
  #decoder = new Worker(new URL("./decoder.js", import.meta.url), { type: "module" });
  /** What the last start was given. @type {string[][]} */
  #script = [];
  /** The recording that it went on from. @type {import("./kept.js").Recording | null} */
  #recording = null;
  /** The number of starts: a callback of an earlier start sees by it that it is outdated. */
  #starts = 0;
  #metersAt = 0;
  /** What was said of a stall last. */
  #stalledText = "";
  /** How the server's clock differs. */
  #clock = new LineClock();
  /** The keys that come nearest to the rates that the hands send. @type {string[]} */
  #byHands = [];
  /** @type {Session | null} */
  session = null;

  /**
   * @param {string} url of the socket
   * @param {import("./key.js").Key} key for a server that asks for one
   * @param {Parts} parts
   */
  constructor(url, key, parts) {
    this.#url = url;
    this.#key = key;
    this.#parts = parts;
    this.#decoder.onmessage = ({ data }) => this.#decoded(data);
    this.#decoder.onerror = ({ message }) => parts.panel.alert(say("decoder_stopped", { why: message }));
  }

  /**
   * @param {string[][]} [script] the keys of the first steps
   * @param {import("./kept.js").Recording | null} [recording] to go on from its end
   */
  async start(script = [], recording = null) {
    const { visit, panel, beginning, keyField, audience } = this.#parts;
    const id = ++this.#starts;
    this.#script = script;
    this.#recording = recording;
    panel.alert(null);
    keyField.hide();
    this.#parts.kept.hide();
    if (audience.token !== null) {
      visit.enter("connecting", say("connecting"));
      return this.#begin(id, watch(audience.token), { watches: true });
    }
    let values, picture;
    try {
      values = panel.values();
      if (visit.card.needsFirstFrame && !beginning.picture && !recording) {
        throw new Error(say("choose_first_frame"));
      }
      visit.enter("connecting", say("connecting"));
      picture = recording ? null : await beginning.bytes(values.size);
    } catch (error) {
      if (id !== this.#starts) return;
      if (error instanceof FieldError) {
        panel.focusField(error.field);
        return visit.enter("ready", say("not_started_why", { why: sentence(error) }));
      }
      panel.alert(sentence(error));
      return visit.enter("ready", say("not_started"));
    }
    if (id !== this.#starts) return; // stopped, or started again, meanwhile

    const first = init({ ...values, firstFrame: picture, fps: visit.card.fps, key: this.#key.value, script, recording });
    this.#begin(id, first, { script, format: values.format });
    panel.promptInUse(recording ? "" : values.prompt, "");
    this.#parts.strangers.clear();
    panel.began();
    this.#parts.sharing.began(visit.card);
  }

  /**
   * @param {number} id @param {object} first what to say first
   * @param {{ script?: string[][], format?: string, watches?: boolean }} how `watches`: somebody else walks
   */
  #begin(id, first, { script = [], format = "", watches = false }) {
    const { visit, panel, tools, audience, controls, latency } = this.#parts;
    const { fps, chunk } = visit.card;
    latency.begin();
    controls.begin(performance.now());
    this.#parts.hands.begin();
    this.session = {
      id, line: this.#connect(first),
      pictures: new Pictures(id, this.#decoder, fps), stats: null,
      chunk: null, eventIdShown: null, framesShown: 0, prompt: null, pause: new Pause(),
      silence: new Silence((1000 * PICTURES_PER_LATENT_FRAME * chunk) / fps),
      saidToWaitAt: 0, keyAskedAt: 0, lastWord: null, script, begun: null, format, videos: 1, resetting: null, watches,
    };
    tools.offers([]);
    audience.begin();
    panel.directs(audience.reins.directs, "");
    this.#clock.begin();
    panel.focusStage();
    panel.showStage();
    requestAnimationFrame(this.#draw);
  }

  stop() {
    this.#leave();
    this.#parts.visit.enter("ready", say("stopped"));
  }

  /** Another attempt to start, as the last one. */
  again() {
    this.start(this.#script, this.#recording);
  }

  /** Begin again with what is filled in: in the same session, where the server offers that. */
  async restart() {
    const session = this.session;
    if (session?.line.open && session.begun?.features.includes("reset") && this.#parts.visit.phase === "running") {
      const said = await this.#filledIn(session);
      if (this.session !== session) return;
      if (said) {
        session.resetting = this.#parts.latency.number();
        return session.line.send(resetEvent(said, session.resetting));
      }
    }
    this.#leave();
    this.start();
  }

  /** Go on from the end of a recording. @param {import("./kept.js").Recording} recording */
  goOn(recording) {
    if (this.session) this.#leave();
    this.start([], recording);
  }

  /** Go back some seconds, and on from there. */
  back() {
    if (this.session?.line.open) this.session.line.send(rewindEvent({ seconds: BACK_SECONDS }));
  }

  /** What another video of this session would begin with; null: a new session says it. @param {Session} of */
  async #filledIn({ format }) {
    const { visit, panel, beginning } = this.#parts;
    try {
      const { format: wished, ...values } = panel.values();
      const picture = await beginning.bytes(values.size);
      const missing = visit.card.needsFirstFrame && picture === null;
      return wished === format && !missing ? { ...values, firstFrame: picture ?? /** @type {const} */ (false) } : null;
    } catch {
      return null; // a start says what is wrong
    }
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
    const { panel, latency, audience } = this.#parts;
    if (!this.session?.line.open || !audience.reins.directs) return;
    const eventId = latency.sent(performance.now());
    this.session.line.send(promptEvent(eventId, text));
    this.session.prompt = { text, eventId };
    this.#parts.guide.prompted();
    panel.promptInUse(text, say("prompt_sent"));
    this.#parts.strangers.clear();
    panel.focusStage();
  }

  sayKeys() {
    const { visit, pads, guide, controls, steps, latency, audience } = this.#parts;
    if (this.session && !audience.reins.leads) return;
    // The server drops a script for the first key, too.
    if (this.session && controls.held.length > 0) this.session.script = [];
    const { held } = this;
    pads.held(held);
    guide.held(this.#withHands(controls.held));
    steps.held(this.#withHands(held), performance.now());
    // Before there is a place there is nothing to steer: the server would have to keep every event.
    if (!this.session?.line.open || visit.phase === "waiting") return;
    const transitions = controls.take(this.session.line.bufferedBytes);
    if (transitions) this.session.line.send(keysEvent(latency.sent(performance.now()), transitions));
  }

  /** What the hands want, to a world that follows it as it is. @param {number} now */
  #sayRates(now) {
    const { visit, hands, latency, audience } = this.#parts;
    if (!this.session?.line.open || !audience.reins.leads || visit.phase === "waiting") return;
    const change = hands.change(now);
    if (!change) return;
    // The server drops a script for this, too.
    this.session.script = [];
    this.session.line.send(ledEvent(change.hurry ? latency.sent(now) : null, { rates: change.rates }));
  }

  /** Keys, and those that come nearest to rates: clips and hints are made of keys. @param {string[]} keys */
  #withHands(keys) {
    return [...new Set([...keys, ...this.#byHands])].sort();
  }

  /** Pauses the session while nobody looks, and resumes it. */
  sayPause() {
    const { recorder, steps, latency } = this.#parts;
    if (!this.session?.line.open) return;
    const kind = this.session.pause.take(document.hidden, recorder.recording);
    if (kind === null) return;
    this.session.line.send(pauseEvent(kind));
    if (kind === "pause") {
      this.session.silence.rest();
      return steps.rest(performance.now());
    }
    this.session.silence.listen(performance.now());
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
    const { hands, controls } = this.#parts;
    const keys = hands.keys(now);
    this.#byHands = hands.analog ? keys : [];
    controls.hold("hands", hands.analog ? [] : keys, now);
    this.#sayRates(now);
    this.sayKeys();
    this.#listen(this.session, now);
    this.#stay(this.session, now);
    this.#askTheTime(this.session, now);
    const frame = this.session.pictures.due(now);
    if (frame) this.#show(this.session, frame, now);
    const { recorder, hud } = this.#parts;
    recorder.tick(now);
    hud.inputs(this.inputs);
    // Before the first picture there is nothing to measure.
    if (this.session.framesShown === 0) return;
    if (now - this.#metersAt < METERS_EVERY_MS) return;
    this.#metersAt = now;
    hud.measured(this.#measured(this.session, now), now);
    recorder.sayTime(now);
  }

  /** There are pictures, or will be as soon as the visitor wants to go on. @param {Session} of */
  #walk({ pause }) {
    const { visit } = this.#parts;
    if (pause.byHand) visit.enter("paused", say("paused_text"));
    else visit.enter("running", "");
  }

  /** @param {object} first the message to begin with @returns {Line} */
  #connect(first) {
    const { visit } = this.#parts;
    return new Line(this.#url, first, this.#key.value, {
      opened: () => {
        if (visit.phase === "connecting") visit.enter("starting", say("setting_up"));
        this.sayKeys();
      },
      received: (message) => {
        if (this.session) this.#received(this.session, message);
      },
      lost: () => {
        if (this.session) this.#lost(this.session);
      },
      back: () => {
        if (this.session) this.#back(this.session);
      },
      over: (code, reason, opened) => {
        const ending = this.session?.lastWord ?? closed(code, reason, opened, (this.session?.framesShown ?? 0) > 0);
        this.#leave();
        this.#end(ending, opened);
      },
    });
  }

  /**
   * Says when nothing comes any more, and tries another connection when that lasts.
   * @param {Session} to @param {number} now
   */
  #listen(to, now) {
    const { visit } = this.#parts;
    if (visit.phase !== "running" && visit.phase !== "stalled") return;
    if (to.line.canComeBack && to.silence.isOver(now)) return to.line.replace();
    const silent = to.silence.stalledFor(now);
    if (silent === null) {
      if (visit.phase === "stalled") this.#walk(to);
    } else if (visit.phase === "running" || this.#stalledText !== stalledText(silent)) {
      this.#stalledText = stalledText(silent);
      visit.enter("stalled", this.#stalledText);
    }
  }

  /** Keeps the place in the queue. Nothing is drawn in a hidden tab, so nothing is said there. @param {Session} of @param {number} now */
  #stay(of, now) {
    if (this.#parts.visit.phase !== "waiting" || now - of.saidToWaitAt < STILL_EVERY_MS) return;
    of.saidToWaitAt = now;
    of.line.send(waitEvent());
  }

  /** For the way of an input to the server. @param {Session} of @param {number} now */
  #askTheTime({ line, begun }, now) {
    if (line.open && begun?.features.includes("receipts") && this.#clock.asks(now)) line.send(clockEvent(now));
  }

  /**
   * The walk is over, or did not begin. Says why in one place, and does what follows.
   * @param {import("./ending.js").Ending} ending @param {boolean} opened a connection had been open
   */
  #end({ said, next }, opened) {
    const { visit, panel, keyField } = this.#parts;
    const id = this.#starts;
    if (next === "look") return void visit.lookFor(said, opened);
    if (next === "again") return visit.enter("over", said);
    if (next === "key") {
      visit.enter("locked", said);
      return keyField.show();
    }
    if (next === "fix") {
      panel.alert(said);
      return visit.enter("ready", say("not_started"));
    }
    visit.enter("full", say("asking_again", { said, seconds: PLACE_EVERY_MS / 1000 }));
    const ask = () => {
      if (id !== this.#starts) return;
      // Somebody who has gone takes nobody's place.
      if (document.hidden) setTimeout(ask, PLACE_EVERY_MS);
      else this.again();
    };
    setTimeout(ask, PLACE_EVERY_MS);
  }

  /** @param {Session} to @param {import("./line.js").Message} message */
  #received(to, message) {
    const { visit, panel } = this.#parts;
    const now = performance.now();
    to.silence.heard(now);
    if (message.kind === "pictures") {
      to.silence.chunk(message.chunk, now);
      this.#parts.latency.saw(message.eventId);
      to.pictures.decode(message);
    } else if (message.kind === "session") this.#greet(to);
    else if (message.kind === "begun") {
      to.begun = message;
      this.#parts.tools.offers(message.features);
    } else if (message.kind === "timeline") this.#elsewhere(to, message);
    else if (message.kind === "stats") to.stats = message;
    else if (message.kind === "shared") this.#parts.audience.shared(message);
    else if (message.kind === "viewers") this.#rein(this.#parts.audience.viewers(message), now);
    else if (message.kind === "watching") {
      this.#parts.audience.watching(message);
      this.#parts.hands.within(message.features);
    } else if (message.kind === "stage") this.#watched(to, message, now);
    else if (message.kind === "received") {
      const at = message.at === null ? null : this.#clock.here(message.at);
      this.#parts.latency.received(message.eventId, at ?? now);
    } else if (message.kind === "clock") this.#clock.answered(message, now);
    else if (message.kind === "ack") this.#parts.latency.applied(message.applied, now);
    else if (message.kind === "read") {
      // What a newer prompt says counts.
      if (message.eventId === (to.resetting ?? to.prompt?.eventId ?? null)) this.#parts.strangers.tell(message);
    } else if (message.kind === "queue") {
      if (visit.phase !== "waiting") to.saidToWaitAt = now;
      const { short, sentence } = standingText(message);
      visit.enter("waiting", sentence, short);
    } else if (message.kind === "error") {
      // An error before the first picture means that none will come; the socket would stay open and wait for another init.
      const comingBack = visit.phase === "returning";
      if (visit.phase === "starting" || visit.phase === "waiting" || comingBack) {
        this.#leave();
        this.#end(refused(message, comingBack), true);
      } else if (to.resetting !== null && message.eventId === to.resetting) {
        // It does not fit into this session, or cannot be: a session of its own takes it, or says why.
        this.#leave();
        this.start();
      } else {
        to.lastWord = lastWord(message);
        // Said before it was heard who steers now: the page has told that already.
        const handedOver = message.code === "invalid_event" && message.details.field === "camera_actions";
        if (!to.lastWord && !handedOver) panel.alert(errorSentence(message));
      }
    }
  }

  /** What comes now does not follow what came before. @param {Session} to @param {import("./protocol.js").Timeline} timeline */
  #elsewhere(to, { chunk, place, eventId }) {
    const { panel, steps, sharing, visit } = this.#parts;
    to.pictures.from(chunk);
    if (place > 0 || eventId === null || eventId !== to.resetting) return;
    [to.resetting, to.prompt] = [null, null];
    to.videos += 1;
    to.script = [];
    const { prompt } = panel.values();
    panel.promptInUse(prompt, "");
    panel.began();
    sharing.began(visit.card);
    steps.begin(this.held, performance.now());
    panel.focusStage();
  }

  /** What a viewer hears of the player. @param {Session} to @param {import("./protocol.js").Stage} stage @param {number} now */
  #watched(to, stage, now) {
    this.#rein(this.#parts.audience.stage(stage), now);
    if (stage.here && !stage.paused) to.silence.listen(now);
    else to.silence.rest();
  }

  /** Who steers was told. @param {boolean} another another than before leads the camera @param {number} now */
  #rein(another, now) {
    const { panel, audience, controls, hands, pads, steps } = this.#parts;
    panel.directs(audience.reins.directs, audience.directorNote);
    if (!another) return;
    // What the holder before held was let go there: what is held here is said anew.
    controls.begin(now);
    hands.begin();
    if (audience.reins.leads) return this.sayKeys();
    pads.held([]);
    steps.held([], now);
  }

  /** Something about this session that steers nothing. @param {object} event */
  tell(event) {
    if (this.session?.line.open) this.session.line.send(event);
  }

  /** The line broke, and another is tried. @param {Session} to */
  #lost(to) {
    this.#parts.steps.rest(performance.now());
    to.pause.lost();
    to.silence.rest();
    this.#parts.visit.enter("returning", say("coming_back"));
  }

  /** The walk goes on, on another connection. @param {Session} to */
  #back(to) {
    to.pictures.clear();
    to.pictures.rested();
    this.#parts.steps.goOn(performance.now());
    this.#walk(to);
  }

  /** The server keeps the session while the line is cut, and takes pauses. @param {Session} to */
  #greet(to) {
    to.pause.hello();
    to.silence.listen(performance.now());
    this.#parts.tools.pausable = true;
    this.#parts.audience.possible();
    this.sayPause();
  }

  /** The session ends here, whoever ended it. The last picture stays. */
  #leave() {
    this.#starts += 1;
    const { begun, videos = 1, framesShown = 0 } = this.session ?? {};
    this.session?.line.close();
    this.session?.pictures.clear();
    this.session = null;
    if (begun?.recorded && framesShown > 0) this.#parts.kept.ended(videos > 1 ? `${begun.session}-${videos}` : begun.session);
    this.#parts.steps.rest(performance.now());
    this.#parts.hud.clear();
    this.#parts.guide.end();
    this.#parts.audience.end();
    this.#parts.recorder.walkEnded();
  }

  /** @param {import("./decoder.js").Decoded} decoded */
  #decoded(decoded) {
    if (decoded.session !== this.session?.id) return decoded.bitmaps.forEach((bitmap) => bitmap.close());
    const problem = this.session.pictures.decoded(decoded, performance.now());
    if (problem) this.#parts.panel.alert(problem);
    const now = performance.now();
    if (decoded.wantsKey && !this.session.watches && now - this.session.keyAskedAt > KEY_FRAME_EVERY_MS) {
      this.session.keyAskedAt = now;
      this.session.line.send(keyFrameEvent());
    }
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
      if (of.framesShown === 0 && !of.watches) {
        steps.begin(this.held, now);
        guide.begin(visit.card);
      }
      if (!of.pause.told) of.silence.listen(now);
    }
    latency.shown(eventId, now);
    of.chunk = chunk;
    of.eventIdShown = eventId;
    of.framesShown += 1;
    if (of.prompt && eventId !== null && eventId >= of.prompt.eventId) {
      panel.promptInUse(of.prompt.text, say("prompt_shown", { chunk: chunk ?? "" }));
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
      told: latency.told,
      buffered: pictures.buffered,
      leadMs: pictures.leadMs,
      dropped: pictures.skipped,
      decodeMs: pictures.decodeMs,
      stats,
    };
  }
}
