// Everything on the page but the canvas. What the visitor does goes out through `actions`; what to show comes in.

import { ACTION_BY_CODE } from "./controls.js";
import { LIVE, PHASES, WALKING } from "./phase.js";
import { promptKey } from "./prompt_key.js";
import { sizeText } from "./protocol.js";
import { size as parseSize, sizeProblem } from "./world.js";

/**
 * @typedef {import("./phase.js").Phase} Phase
 * @typedef {import("./film_store.js").KeptFilm} KeptFilm
 * @typedef {{ start: () => void, stop: () => void, restart: () => void, changePrompt: (prompt: string) => void,
 *   press: (action: string, holder: string) => void, release: (holder: string) => void, releaseAll: () => void,
 *   pick: (item: import("./world.js").GalleryItem) => void, upload: (file: File) => void, noPicture: () => void,
 *   resized: () => void, smooth: (smooth: boolean) => void, looked: () => void, pause: () => void, record: () => void,
 *   wouldLose: () => boolean, saveLeft: (film: KeptFilm) => void, removeLeft: (film: KeptFilm) => void }} Actions
 * @typedef {{ fps: number, targetFps: number, chunk: number | null, latency: number | null, latencyMedian: number | null,
 *   buffered: number, leadMs: number, dropped: number, decodeMs: number | null,
 *   stats: import("./protocol.js").Stats | null }} Meters
 */

const SEED_MAX = 2 ** 32 - 1;
/** Shortcuts by place on the keyboard, like the keys that walk, and none of those. */
const PAUSE_CODE = "KeyP";
/** Time for a browser to begin a download: it does not report when it did. */
const SAVING_MS = 60_000;

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

export class Panel {
  #actions;
  /** @type {Phase} */
  #phase = "loading";
  /** @type {import("./world.js").Card | null} */
  #card = null;
  /** @type {NodeListOf<HTMLButtonElement>} */
  #keys = document.querySelectorAll(".key");
  /** The prompt that the running session was sent last. */
  #promptInUse = "";
  #pausable = false;
  #recordable = true;
  #recording = false;
  /** What is offered of an earlier visit. @type {KeptFilm | null} */
  #left = null;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#listenToForm();
    this.#listenToKeyboard();
    this.#keys.forEach((key) => this.#listenToKey(key));
    this.#listenToDrops();
  }

  /**
   * The world is known: adapt to it.
   * @param {import("./world.js").Card} card @param {import("./world.js").GalleryItem[]} gallery
   */
  offer(card, gallery) {
    this.#card = card;
    element("world-name").textContent = card.name;
    element("world-name").hidden = false;
    element("no-picture").hidden = card.needsFirstFrame;
    const only = "only" in card.sizes ? card.sizes.only : null;
    element("size-list").hidden = !only;
    element("size-list").replaceChildren(...(only ?? []).map((size) => new Option(sizeText(size))));
    element("size").hidden = Boolean(only);
    document.querySelector('label[for^="size"]')?.setAttribute("for", only ? "size-list" : "size");
    for (const id of ["size", "size-list"]) element(id).value = sizeText(card.defaultSize);
    this.#keys.forEach((key) => (key.hidden = !card.keys.includes(key.dataset.action ?? "")));
    element("gallery").replaceChildren(...gallery.map((item) => this.#galleryButton(item)));
    element("presets").hidden = card.presets.length === 0;
    element("presets").replaceChildren(...card.presets.map((prompt) => this.#presetButton(prompt)));
    this.#checkSize();
  }

  /**
   * @param {Phase} phase @param {string} curtain what to say over the picture
   * @param {string} [more] what the status says besides
   */
  phase(phase, curtain, more) {
    this.#phase = phase;
    const { status, button, busy } = PHASES[phase];
    const live = LIVE.includes(phase);
    element("status").textContent = more ? `${status}: ${more}` : status;
    element("status").dataset.phase = phase;
    element("curtain-text").textContent = curtain;
    element("curtain").dataset.open = String(phase === "running");
    element("curtain").dataset.busy = String(busy);
    element("start").textContent = button;
    element("start").classList.toggle("stop", live);
    element("start").disabled = phase === "loading" || phase === "unreachable";
    element("restart").hidden = !WALKING.includes(phase);
    element("pause").textContent = phase === "paused" ? "Resume" : "Pause";
    element("pause").setAttribute("aria-pressed", String(phase === "paused"));
    this.#checkTools();
    if (!live) element("prompt-note").textContent = "";
    this.#checkPrompt();
  }

  /**
   * What the visitor has filled in.
   * @throws a sentence, if it cannot be used
   */
  values() {
    const problem = this.#checkSize();
    if (problem) throw new Error(`Size: ${problem}.`);
    const seed = Number(element("seed").value);
    if (!Number.isInteger(seed) || seed < 0 || seed > SEED_MAX || element("seed").value.trim() === "") {
      throw new Error(`Seed: a whole number from 0 to ${SEED_MAX}.`);
    }
    return {
      prompt: /** @type {string} */ (element("prompt").value.trim()),
      size: this.size,
      seed,
      format: /** @type {"jpeg" | "webp" | "raw"} */ (element("format").value),
    };
  }

  /** The size in the field; the world's own while the field holds no size. */
  get size() {
    const asked = this.#askedSize();
    if (!this.#card) throw new Error("a world is offered before its size is asked");
    return asked && !sizeProblem(this.#card.sizes, asked) ? asked : this.#card.defaultSize;
  }

  /** Whether this server takes pauses. @param {boolean} possible */
  set pausable(possible) {
    this.#pausable = possible;
    this.#checkTools();
  }

  /** This browser cannot record, and why. @param {string} why */
  cannotRecord(why) {
    this.#recordable = false;
    element("record").title = why;
    this.#checkTools();
  }

  /** For how long it has been recording, as text; null: it is not. @param {string | null} time */
  recording(time) {
    this.#recording = time !== null;
    element("record").setAttribute("aria-pressed", String(this.#recording));
    element("record-time").textContent = time ?? "";
    this.#checkTools();
  }

  /** Offers a file to keep, as a download. @param {Blob} file @param {string} name */
  save(file, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = name;
    link.click();
    // Not at once: the browser begins to read it after this.
    setTimeout(() => URL.revokeObjectURL(link.href), SAVING_MS);
  }

  /** A film that a tab left behind when it closed, to save or remove; null: there is none. @param {KeptFilm | null} film */
  leftFilm(film) {
    this.#left = film;
    element("left-film").hidden = film === null;
    if (film) element("left-film-name").textContent = `${film.name} (${(film.bytes / 1e6).toFixed(1)} MB)`;
  }

  /** Nobody can see the page: it is in a tab behind others, or minimized. */
  get hidden() {
    return document.hidden;
  }

  /** The running session obeys this prompt, or soon will. @param {string} prompt @param {string} note */
  promptInUse(prompt, note) {
    this.#promptInUse = prompt;
    element("prompt-note").textContent = note;
    this.#checkPrompt();
  }

  /** @param {string} prompt */
  set prompt(prompt) {
    element("prompt").value = prompt;
    this.#checkPrompt();
  }

  /** Which first frame is chosen. @param {{ gallery: string } | { file: string } | null} chosen */
  firstFrame(chosen) {
    for (const button of element("gallery").children) {
      button.setAttribute("aria-pressed", String(chosen !== null && "gallery" in chosen && button.dataset.name === chosen.gallery));
    }
    const file = chosen && "file" in chosen ? chosen.file : null;
    element("file-text").textContent = file ?? "Choose or drop a picture of yours";
    document.querySelector(".upload")?.classList.toggle("chosen", file !== null);
    element("no-picture").setAttribute("aria-pressed", String(chosen === null));
    const walking = WALKING.includes(this.#phase);
    const which = chosen ? "this picture" : "the prompt alone";
    element("first-frame-note").textContent = walking ? `“Start over” begins with ${which}.` : "";
  }

  /** @param {string[]} held */
  held(held) {
    this.#keys.forEach((key) => {
      const isHeld = held.includes(key.dataset.action ?? "");
      key.classList.toggle("held", isHeld);
      key.setAttribute("aria-pressed", String(isHeld));
    });
  }

  /** @param {string | null} sentence */
  alert(sentence) {
    element("alert").hidden = sentence === null;
    element("alert-text").textContent = sentence ?? "";
  }

  /** @param {Meters | null} meters null: nothing is going on */
  meters(meters) {
    if (!meters) {
      for (const id of ["m-fps", "m-latency", "m-generate", "m-buffer"]) fill(id, "–", "");
      element("m-chunk").textContent = element("m-parts").textContent = "";
      return;
    }
    const { fps, targetFps, chunk, latency, latencyMedian, buffered, leadMs, dropped, decodeMs, stats } = meters;
    fill("m-fps", String(fps), `of ${targetFps}`);
    if (latency === null || latencyMedian === null) fill("m-latency", "–", "");
    else fill("m-latency", latency.toFixed(), `ms, ~${latencyMedian.toFixed()}`);
    element("m-chunk").textContent = chunk ?? "";
    fill("m-buffer", String(buffered), `+ ${leadMs.toFixed()} ms`);
    if (!stats) return;
    fill("m-generate", stats.ms.generate.toFixed(), `of ${((1000 * stats.frames) / targetFps).toFixed()} ms`);
    /** @type {[string, number | null][]} */
    const parts = [["text", stats.ms.text], ["DiT", stats.ms.dit], ["VAE", stats.ms.vae], ["encode", stats.ms.encode],
      ["write", stats.ms.write], ["pacing", stats.ms.wait], ["decode", decodeMs]];
    const shown = parts.flatMap(([name, ms]) => (ms === null ? [] : [`${name} ${ms.toFixed()} ms`]));
    shown.push(`${(stats.bytes / 1024 / Math.max(1, stats.frames)).toFixed(1)} KiB a picture`);
    if (dropped > 0) shown.push(`${dropped} skipped to keep up`);
    element("m-parts").textContent = shown.join(" · ");
  }

  focusStage() {
    element("stage").focus({ preventScroll: true });
  }

  #listenToForm() {
    element("form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (LIVE.includes(this.#phase)) this.#actions.stop();
      else if (this.#phase === "ready" || this.#phase === "lost") this.#actions.start();
    });
    element("restart").addEventListener("click", () => this.#actions.restart());
    element("send-prompt").addEventListener("click", () => this.#sendPrompt());
    element("prompt").addEventListener("input", () => this.#checkPrompt());
    element("prompt").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const means = promptKey(event, this.#phase);
      if (means === "write") return;
      event.preventDefault();
      if (means === "send") this.#sendPrompt();
      else if (means === "start") element("form").requestSubmit(element("start"));
    });
    for (const id of ["size", "size-list"]) {
      element(id).addEventListener("change", () => {
        if (this.#checkSize() === null) this.#actions.resized();
      });
    }
    element("dice").addEventListener("click", () => {
      element("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
    });
    element("file").addEventListener("change", () => {
      const [file] = element("file").files;
      if (file) this.#actions.upload(file);
      element("file").value = ""; // choosing the same file again is a choice too
    });
    element("no-picture").addEventListener("click", () => this.#actions.noPicture());
    element("alert-close").addEventListener("click", () => this.alert(null));
    element("smooth").addEventListener("click", () => {
      const smooth = element("smooth").getAttribute("aria-pressed") !== "true";
      element("smooth").setAttribute("aria-pressed", String(smooth));
      element("smooth").textContent = smooth ? "Smooth" : "Crisp";
      this.#actions.smooth(smooth);
    });
    element("pause").addEventListener("click", () => this.#actions.pause());
    element("record").addEventListener("click", () => this.#actions.record());
    for (const [id, action] of /** @type {const} */ ([["left-film-save", "saveLeft"], ["left-film-remove", "removeLeft"]])) {
      element(id).addEventListener("click", () => {
        if (this.#left) this.#actions[action](this.#left);
      });
    }
    window.addEventListener("beforeunload", (event) => {
      if (this.#actions.wouldLose()) event.preventDefault();
    });
    element("fullscreen").hidden = !document.fullscreenEnabled;
    element("fullscreen").addEventListener("click", () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else element("stage").requestFullscreen();
    });
  }

  #listenToKeyboard() {
    window.addEventListener("keydown", (event) => {
      // With a modifier it is the browser's shortcut, and its key-up may never be seen.
      if (event.ctrlKey || event.metaKey || event.altKey) return this.#actions.releaseAll();
      if (event.code === PAUSE_CODE && !event.repeat && !isField(event.target)) element("pause").click();
      const action = ACTION_BY_CODE[event.code];
      if (!action || isField(event.target) || !this.#card?.keys.includes(action)) return;
      event.preventDefault(); // arrows would scroll
      this.#actions.press(action, event.code);
    });
    window.addEventListener("keyup", (event) => this.#actions.release(event.code));
    // From here on key-ups go elsewhere.
    window.addEventListener("blur", () => this.#actions.releaseAll());
    window.addEventListener("pagehide", () => this.#actions.releaseAll());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#actions.releaseAll();
      this.#actions.looked();
    });
    document.addEventListener("focusin", (event) => {
      if (isField(event.target)) this.#actions.releaseAll();
    });
  }

  /** @param {HTMLButtonElement} key */
  #listenToKey(key) {
    const action = key.dataset.action ?? "";
    key.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      // Captured, so that a finger that slides off still ends what it began.
      key.setPointerCapture(event.pointerId);
      this.#actions.press(action, `pointer ${event.pointerId}`);
    });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
      key.addEventListener(end, (event) => this.#actions.release(`pointer ${event.pointerId}`));
    }
    key.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      this.#actions.press(action, event.code);
    });
    key.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #listenToDrops() {
    const drop = element("first-frame");
    window.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    window.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) drop.classList.remove("over");
    });
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (file) this.#actions.upload(file);
    });
  }

  /** @param {import("./world.js").GalleryItem} item */
  #galleryButton(item) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.name = item.name;
    button.title = item.prompt;
    button.setAttribute("aria-pressed", "false");
    const image = document.createElement("img");
    image.src = item.url;
    image.alt = item.prompt || item.name;
    button.append(image);
    button.addEventListener("click", () => this.#actions.pick(item));
    return button;
  }

  /** A chip: fills in its prompt, and sends it where a walk is under way. @param {string} prompt */
  #presetButton(prompt) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = prompt;
    button.addEventListener("click", () => {
      this.prompt = prompt;
      this.#sendPrompt();
    });
    return button;
  }

  /** What is recorded can be ended also while the line is down. */
  #checkTools() {
    const walking = WALKING.includes(this.#phase);
    element("pause").disabled = !walking || !this.#pausable;
    element("record").disabled = !this.#recordable || !(walking || this.#recording);
  }

  #sendPrompt() {
    if (!element("send-prompt").disabled) this.#actions.changePrompt(element("prompt").value.trim());
  }

  #checkPrompt() {
    const prompt = element("prompt").value.trim();
    element("send-prompt").disabled = !WALKING.includes(this.#phase) || prompt === "" || prompt === this.#promptInUse;
  }

  /** @returns {import("./protocol.js").Size | null} */
  #askedSize() {
    try {
      return parseSize(element("size-list").hidden ? element("size").value : element("size-list").value);
    } catch {
      return null;
    }
  }

  /** Says below the field what is wrong with the size, or what may be asked. @returns {string | null} */
  #checkSize() {
    if (!this.#card) return null;
    const asked = this.#askedSize();
    const { sizes } = this.#card;
    const problem = asked ? sizeProblem(sizes, asked) : "write it like 832x480";
    element("size").setAttribute("aria-invalid", String(problem !== null));
    element("size-note").classList.toggle("wrong", problem !== null);
    element("size-note").textContent =
      problem !== null ? `Size: ${problem}.`
      : "only" in sizes ? ""
      : `Size: ${sizes.multiple > 1 ? `multiples of ${sizes.multiple}, ` : ""}up to ${sizes.pixelsMax.toLocaleString("en")} pixels.`;
    return problem;
  }
}

/** Where a key press writes or selects. @param {EventTarget | null} target */
const isField = (target) =>
  target instanceof Element && target.matches("textarea, select, [contenteditable], input:not([type='file'])");

/** @param {string} id @param {string} value @param {string} aside */
function fill(id, value, aside) {
  const small = document.createElement("small");
  small.textContent = aside;
  element(id).replaceChildren(value, " ", small);
}
