// The page: it makes its parts and joins them. Decisions are in the modules.

import { socketBelow } from "./address.js";
import { Audience } from "./audience.js";
import { Beginning } from "./beginning.js";
import { ClipPanel } from "./clip_panel.js";
import { Controls } from "./controls.js";
import { ControlsPanel } from "./controls_panel.js";
import { returnFocus } from "./focus.js";
import { canDecodeFilm } from "./film_decoder.js";
import { Full } from "./full.js";
import { Gallery } from "./gallery.js";
import { Gamepads } from "./gamepad.js";
import { Guide } from "./guide.js";
import { Hands } from "./hands.js";
import { Key, withoutKey } from "./key.js";
import { KeyField } from "./key_field.js";
import { isRecording, Kept } from "./kept.js";
import { Keyboard } from "./keyboard.js";
import { Hud } from "./hud.js";
import { drawInputs } from "./inputs.js";
import { Latency } from "./latency.js";
import { Look } from "./look.js";
import { Meters } from "./meters.js";
import { Pads } from "./pads.js";
import { Panel } from "./panel.js";
import { LIVE } from "./phase.js";
import { expose } from "./probe.js";
import { Recorder } from "./recorder.js";
import { Screen } from "./screen.js";
import { sentence } from "./sentence.js";
import { Settings, storage } from "./settings.js";
import { Sharing } from "./sharing.js";
import { Steps } from "./steps.js";
import { Sticks } from "./sticks.js";
import { Strangers } from "./strangers.js";
import { Tools } from "./tools.js";
import { Visit } from "./visit.js";
import { Walk } from "./walk.js";
import { label, say, speak, spoken } from "./words.js";

/** The button for each command of a gamepad. */
const BUTTON = { start: "go", pause: "pause", hud: "hud-button", help: "help-button", snapshot: "snapshot" };

/** As often as most screens, which do not refresh for a tab that is hidden. */
const TICK_MS = 1000 / 60;

/** The page's own address, which may be one below a path of a proxy. */
const PAGE = location.href;

const key = new Key(PAGE, tabStore());
const address = withoutKey(PAGE);
if (address !== null) history.replaceState(history.state, "", address);

/** @param {string} id */
const canvas = (id) => /** @type {HTMLCanvasElement} */ (document.getElementById(id));

const settings = new Settings(storage());
speak(settings.values.language ?? spoken(navigator.languages));
label(document);

const controls = new Controls();
const steps = new Steps();
const latency = new Latency();
const screen = new Screen(canvas("screen"), canvas("sharp"));
const ticker = new Worker(new URL("./ticker.js", import.meta.url), { type: "module" });

const start = () => walk.start(sharing.takeScript());

const panel = new Panel({
  start,
  stop: () => walk.stop(),
  restart: () => walk.restart(),
  changePrompt: (prompt) => {
    walk.changePrompt(prompt);
    sharing.used(prompt);
  },
  resized: () => beginning.preview(),
});
canDecodeFilm().then((can) => panel.offerFilm(can));

/** @param {string} holder @param {string[]} actions */
const hold = (holder, actions) => {
  controls.hold(holder, actions, performance.now());
  walk.sayKeys();
};

const pads = new Pads({ hold });
const hands = new Hands();
new Sticks((stick, rates) => hands.want(stick, rates));

const look = new Look(/** @type {HTMLElement} */ (document.getElementById("stage")), () => settings.values, {
  turn: (degrees) => hands.turn(degrees),
  walking: () => visit.phase === "running",
  drag: (x, y) => beginning.drag(x, y),
});

const gamepads = new Gamepads(() => navigator.getGamepads(), {
  want: (stick, rates) => hands.want(stick, rates),
  command: (command) => document.getElementById(BUTTON[command])?.click(),
});

const keyboard = new Keyboard(() => settings.values.bindings, {
  hold,
  releaseAll: () => {
    hands.rest();
    controls.releaseAll(performance.now());
    walk.sayKeys();
  },
  looked: () => walk.sayPause(),
});
new Full();

const controlsPanel = new ControlsPanel(settings);
const hud = new Hud(settings, new Meters(), (action) => controlsPanel.label(action));
const guide = new Guide(settings, (action) => controlsPanel.labels(action));
returnFocus(() => LIVE.includes(visit.phase));

/** @type {Tools} */
const tools = new Tools({
  enlarge: (look) => settings.set({ look }),
  pause: () => walk.pause(),
  back: () => walk.back(),
  record: () => recorder.toggle(),
  snapshot: () => recorder.snapshot(),
  share: () => sharing.share(visit.card, steps.script(visit.card.fps, performance.now())?.script ?? ""),
  wouldLose: () => recorder.wouldLose,
  saveLeft: (film) => recorder.saveLeft(film),
  removeLeft: (film) => recorder.removeLeft(film),
});

/** @type {import("./screen.js").How | null | undefined} */
let lookBefore;
settings.listen(({ look }) => {
  if (look === lookBefore) return;
  lookBefore = look;
  try {
    screen.how = look;
  } catch (error) {
    panel.alert(say("sharp_impossible", { why: sentence(error) }));
    settings.set({ look: screen.how });
  }
  tools.enlarged(screen.how);
});

const gallery = new Gallery({
  pick: (item) => beginning.pick(item),
  upload: (file) => (isRecording(file) ? kept.open(file) : beginning.upload(file)),
  noPicture: () => beginning.noPicture(),
  goThere: () => walk.restart(),
  place: (place) => beginning.place(place),
});

const visit = new Visit(PAGE, {
  entered: (phase, curtain, more) => {
    panel.phase(phase, curtain, more);
    tools.phase(phase);
    gallery.phase(phase);
    keyboard.phase(phase);
    if (phase !== "running") {
      look.free();
      hands.rest();
    }
  },
  found: (card, pictures) => {
    panel.offer(card);
    gallery.offer(card, pictures);
    keyboard.offer(card);
    pads.offer(card);
    hands.offer(card);
    clipPanel.offer(card);
    const said = sharing.begin(card, pictures);
    if (said) visit.enter("ready", said);
    if (audience.token === null) return;
    // The player's prompt is the player's own.
    panel.prompt = "";
    walk.start();
  },
  strange: (why) => panel.alert(why),
});

const keyField = new KeyField((entered) => {
  key.value = entered;
  walk.again();
});

const kept = new Kept(PAGE, key, { goOn: (recording) => walk.goOn(recording), alert: (said) => panel.alert(said) });

const beginning = new Beginning(panel, gallery, screen, () => walk.session !== null);

const audience = new Audience(PAGE, (event) => walk.tell(event));

/** @type {Sharing} */
const sharing = new Sharing(PAGE, settings, panel, beginning);

/** Keys and prompt on each picture of a recording, where the visitor wants that. */
const burn = () => (settings.values.burn
  ? (/** @type {CanvasRenderingContext2D} */ film) => drawInputs(film, walk.inputs, { prompt: true })
  : null);

/** @type {Recorder} */
const recorder = new Recorder(panel, tools, screen, () => visit.card.name, burn, (recording) => {
  ticker.postMessage(recording ? TICK_MS : null);
  // It may have ended while the tab is hidden.
  walk.sayPause();
});

const clipPanel = new ClipPanel(PAGE, key, {
  chosen: async () => {
    const values = panel.values();
    return { ...values, picture: await beginning.bytes(values.size) };
  },
  walked: (fps) => steps.script(fps, performance.now()),
});

const strangers = new Strangers((prompt) => {
  panel.prompt = prompt;
  panel.focusField("prompt");
});
/** @type {import("./walk.js").Parts} */
const parts = {
  visit, panel, tools, pads, hands, hud, guide, sharing, audience, beginning, keyField, recorder, kept, screen, controls, steps, latency,
  strangers,
};
const walk = new Walk(socketBelow("/v1/realtime_video", PAGE), key, parts);

/** Gamepads tell nothing by themselves: somebody has to look, as often as pictures come. */
function lookAtGamepads() {
  watched = gamepads.poll(settings.values.deadZone) > 0;
  if (watched) requestAnimationFrame(lookAtGamepads);
}
let watched = false;
window.addEventListener("gamepadconnected", () => {
  if (!watched) lookAtGamepads();
});

ticker.onmessage = () => {
  if (document.hidden) walk.advance(performance.now());
};

expose(walk, parts);

visit.findWorld();

/** What this tab keeps until it is closed; null where the browser forbids it. */
function tabStore() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
