// How a walk begins and what is said about it: the form, the status, the words over the picture, the alert.
//
// What the visitor does goes out through `actions`; what to show comes in.

import { element } from "./element.js";
import { LIVE, PHASES, WALKING } from "./phase.js";
import { promptKey } from "./prompt_key.js";
import { sizeText } from "./protocol.js";
import { size as parseSize, sizeProblem } from "./world.js";

/**
 * @typedef {import("./phase.js").Phase} Phase
 * @typedef {{ start: () => void, stop: () => void, restart: () => void, changePrompt: (prompt: string) => void,
 *   resized: () => void }} Actions
 */

const SEED_MAX = 2 ** 32 - 1;

export class Panel {
  #actions;
  /** @type {Phase} */
  #phase = "loading";
  /** @type {import("./world.js").Card | null} */
  #card = null;
  /** The prompt that the running session was sent last. */
  #promptInUse = "";

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

  /** @param {string | null} sentence */
  alert(sentence) {
    element("alert").hidden = sentence === null;
    element("alert-text").textContent = sentence ?? "";
  }

  focusStage() {
    element("stage").focus({ preventScroll: true });
  }

  #listen() {
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
