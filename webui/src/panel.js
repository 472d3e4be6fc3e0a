// How a walk begins and what is said about it: the form, the status, the words over the picture, the alert.
//
// What the visitor does goes out through `actions`; what to show comes in.

import { element } from "./element.js";
import { LIVE, LOOKING, PHASES, WALKING } from "./phase.js";
import { promptKey } from "./prompt_key.js";
import { sizeText } from "./protocol.js";
import { size as parseSize, sizeProblem } from "./world.js";
import { say } from "./words.js";

/**
 * @typedef {import("./phase.js").Phase} Phase
 * @typedef {{ start: () => void, stop: () => void, restart: () => void, changePrompt: (prompt: string) => void,
 *   resized: () => void }} Actions
 */

const SEED_MAX = 2 ** 32 - 1;
/** The fields that a walk begins with. */
const BEGINS_WITH = ["size", "size-list", "format", "seed"];

/** A field holds what cannot be used. The page says so below the field. */
export class FieldError extends Error {
  /** @param {string} field its id @param {string} message */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

export class Panel {
  #actions;
  /** @type {Phase} */
  #phase = "loading";
  /** @type {import("./world.js").Card | null} */
  #card = null;
  /** The prompt that the running session was sent last. */
  #promptInUse = "";
  /** Whether the prompt is this page's to write. */
  #directs = true;
  /** What the fields said when the walk began. @type {Record<string, string>} */
  #begun = {};

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#listen();
  }

  /** The world is known: adapt to it. @param {import("./world.js").Card} card */
  offer(card) {
    this.#card = card;
    element("world-name").textContent = card.name;
    element("world-name").hidden = false;
    const only = "only" in card.sizes ? card.sizes.only : null;
    element("size-list").hidden = !only;
    element("size-list").replaceChildren(...(only ?? []).map((size) => new Option(sizeText(size))));
    element("size").hidden = Boolean(only);
    document.querySelector('label[for^="size"]')?.setAttribute("for", only ? "size-list" : "size");
    for (const id of ["size", "size-list"]) element(id).value = sizeText(card.defaultSize);
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
    const { button, busy } = PHASES[phase];
    const status = say(`phase_${phase}`);
    const live = LIVE.includes(phase);
    element("status").textContent = more ? say("phase_with", { phase: status, more }) : status;
    element("status").dataset.phase = phase;
    element("curtain-text").textContent = curtain;
    element("curtain").dataset.open = String(phase === "running");
    element("curtain").dataset.busy = String(busy);
    element("start").textContent = say(button);
    element("start").classList.toggle("stop", live);
    element("go-text").textContent = say(button);
    element("stop").hidden = !live;
    const nowhere = LOOKING.includes(phase);
    element("start").disabled = nowhere;
    element("go").disabled = nowhere || live;
    element("restart").hidden = !WALKING.includes(phase);
    if (!live) element("prompt-note").textContent = "";
    this.#checkPrompt();
    this.#checkLater();
  }

  /**
   * What the visitor has filled in.
   * @throws {FieldError} if it cannot be used
   */
  values() {
    const problem = this.#checkSize();
    if (problem) throw new FieldError("size", say("size_wrong", { problem }));
    const wrong = this.#checkSeed();
    if (wrong) throw new FieldError("seed", wrong);
    const seed = Number(element("seed").value);
    return {
      prompt: /** @type {string} */ (element("prompt").value.trim()),
      size: this.size,
      seed,
      format: /** @type {import("./protocol.js").PictureFormat} */ (element("format").value),
    };
  }

  /** @param {boolean} can this browser decodes films as they come */
  offerFilm(can) {
    const option = /** @type {HTMLOptionElement} */ (element("format").querySelector("[value=h264]"));
    option.hidden = option.disabled = !can;
  }

  /** The size in the field; the world's own while the field holds no size. */
  get size() {
    const asked = this.#askedSize();
    if (!this.#card) throw new Error("a world is offered before its size is asked");
    return asked && !sizeProblem(this.#card.sizes, asked) ? asked : this.#card.defaultSize;
  }

  /** Fills in how a walk began elsewhere. @param {{ prompt: string, seed: number, size: string | null }} values a size that is no other's stays as it is */
  fill({ prompt, seed, size }) {
    this.prompt = prompt;
    element("seed").value = String(seed);
    this.#checkSeed();
    if (size === null || !this.#card) return;
    const before = element("size").value;
    for (const id of ["size", "size-list"]) element(id).value = size;
    if (this.#checkSize() === null) return;
    for (const id of ["size", "size-list"]) element(id).value = before;
    this.#checkSize();
  }

  /** A walk begins with what the fields say now. */
  began() {
    this.#begun = this.#fields();
    this.#checkLater();
  }

  /** The running session obeys this prompt, or soon will. @param {string} prompt @param {string} note */
  promptInUse(prompt, note) {
    this.#promptInUse = prompt;
    element("prompt-note").textContent = note;
    this.#checkPrompt();
  }

  /** Whether the prompt is this page's to write, and what is said of that. @param {boolean} directs @param {string} note */
  directs(directs, note) {
    this.#directs = directs;
    element("prompt-note").textContent = note;
    this.#checkPrompt();
  }

  /** The prompt that the walk was sent last. */
  get promptShown() {
    return this.#promptInUse;
  }

  /** @param {string} prompt */
  set prompt(prompt) {
    element("prompt").value = prompt;
    this.#checkPrompt();
  }

  /** @param {string | null} sentence */
  alert(sentence) {
    element("alert").hidden = sentence === null;
    element("alert-text").textContent = sentence ?? "";
  }

  /** @param {string} id */
  focusField(id) {
    element(id).focus();
  }

  focusStage() {
    element("stage").focus({ preventScroll: true });
  }

  /** On a small screen the button that starts a walk may be far below the picture. */
  showStage() {
    element("stage").scrollIntoView({ block: "nearest" });
  }

  #listen() {
    element("form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (LIVE.includes(this.#phase)) this.#actions.stop();
      else if (!LOOKING.includes(this.#phase)) this.#actions.start();
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
    element("seed").addEventListener("input", () => this.#checkSeed());
    for (const id of BEGINS_WITH) {
      for (const type of ["input", "change"]) element(id).addEventListener(type, () => this.#checkLater());
    }
    element("dice").addEventListener("click", () => {
      element("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
      this.#checkSeed();
      this.#checkLater();
    });
    element("alert-close").addEventListener("click", () => this.alert(null));
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

  #sendPrompt() {
    if (!element("send-prompt").disabled) this.#actions.changePrompt(element("prompt").value.trim());
  }

  #checkPrompt() {
    const prompt = element("prompt").value.trim();
    element("send-prompt").disabled = !this.#directs || !WALKING.includes(this.#phase) || prompt === "" || prompt === this.#promptInUse;
  }

  /** @returns {import("./protocol.js").Size | null} */
  #askedSize() {
    try {
      return parseSize(element("size-list").hidden ? element("size").value : element("size-list").value);
    } catch {
      return null;
    }
  }

  /** What a walk begins with and cannot change. */
  #fields() {
    return Object.fromEntries(BEGINS_WITH.map((id) => [id, element(id).hidden ? "" : element(id).value]));
  }

  /** Says of fields that were changed during a walk that only the next one begins with them. */
  #checkLater() {
    const live = LIVE.includes(this.#phase);
    const fields = this.#fields();
    const changed = BEGINS_WITH.filter((id) => live && fields[id] !== this.#begun[id]);
    for (const id of BEGINS_WITH) element(id).classList.toggle("later", changed.includes(id));
    const names = changed.map((id) => document.querySelector(`label[for="${id}"]`)?.textContent ?? id);
    element("later-note").textContent = names.length > 0 ? say("later", { fields: names.join(", ") }) : "";
  }

  /** Says below the field what is wrong with the seed. @returns {string | null} */
  #checkSeed() {
    const text = element("seed").value.trim();
    const seed = Number(text);
    const wrong = text === "" || !Number.isInteger(seed) || seed < 0 || seed > SEED_MAX;
    const problem = wrong ? say("seed_wrong", { max: SEED_MAX }) : null;
    element("seed").setAttribute("aria-invalid", String(wrong));
    element("seed-note").classList.toggle("wrong", wrong);
    element("seed-note").textContent = problem ?? "";
    return problem;
  }

  /** Says below the field what is wrong with the size, or what may be asked. @returns {string | null} */
  #checkSize() {
    if (!this.#card) return null;
    const asked = this.#askedSize();
    const { sizes } = this.#card;
    const problem = asked ? sizeProblem(sizes, asked) : say("size_form");
    element("size").setAttribute("aria-invalid", String(problem !== null));
    element("size-note").classList.toggle("wrong", problem !== null);
    element("size-note").textContent =
      problem !== null ? say("size_wrong", { problem })
      : "only" in sizes ? ""
      : say(sizes.multiple > 1 ? "size_hint_multiple" : "size_hint", {
          multiple: sizes.multiple,
          pixels: sizes.pixelsMax.toLocaleString("en"),
        });
    return problem;
  }
}
