// The Film panel: what a film is asked with, how far it is, and the film itself.

import { makeFilm, progressText } from "./clip.js";
import { fileName } from "./film.js";
import { sizeText } from "./protocol.js";
import { sentence } from "./sentence.js";
import { say } from "./words.js";

/**
 * @typedef {{ prompt: string, size: import("./protocol.js").Size, seed: number, picture: Uint8Array | null }} Chosen
 * @typedef {{ chosen: () => Promise<Chosen>, walked: (fps: number) => { script: string, seconds: number } | null }} Actions
 *   `chosen`: how a walk would begin now; it throws a sentence. `walked`: the walk so far.
 * @typedef {{ prompt: string, seconds: number, script: string }} Asked  An empty prompt: the one of the walk.
 */

/** A film is longer than one picture, and a server draws this long a one at most by default. */
const SECONDS = { min: 0.5, max: 30 };

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(`clip-${id}`);

export class ClipPanel {
  #page;
  #key;
  #actions;
  /** @type {import("./world.js").Card | null} */
  #card = null;
  /** Ends the film that the server makes for this page; null: none is being made. @type {AbortController | null} */
  #end = null;

  /** @param {string} page the page's own address @param {import("./key.js").Key} key @param {Actions} actions */
  constructor(page, key, actions) {
    this.#page = page;
    this.#key = key;
    this.#actions = actions;
    element("form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.#end) return this.#end.abort();
      const seconds = Number(element("seconds").value);
      if (!(seconds >= SECONDS.min && seconds <= SECONDS.max)) {
        return this.#say(say("film_wrong_seconds", SECONDS), true);
      }
      this.#make({ prompt: element("prompt").value.trim(), seconds, script: element("script").value.trim() });
    });
    element("walked").addEventListener("click", () => {
      const walked = this.#card && actions.walked(this.#card.fps);
      if (!walked) return this.#say(say("film_not_walked"), true);
      element("script").value = walked.script;
      element("seconds").value = String(walked.seconds);
      this.#say("");
    });
  }

  /** The world is known. @param {import("./world.js").Card} card */
  offer(card) {
    this.#card = card;
    element("steering").hidden = card.keys.length === 0;
  }

  /** A film from the server, beside the walk. @param {Asked} asked */
  async #make({ prompt, seconds, script }) {
    if (!this.#card) return this.#say(say("film_world_loading"), true);
    const { name } = this.#card;
    const end = (this.#end = new AbortController());
    this.#show(null);
    this.#progress(0);
    this.#say(say("film_asking"));
    try {
      const { size, seed, picture, prompt: above } = await this.#actions.chosen();
      const wish = { prompt: prompt || above, seconds, size: sizeText(size), seed, script, picture };
      const { file, job } = await makeFilm(this.#page, this.#key.value, wish, (job) => {
        this.#progress(job.progress);
        this.#say(progressText(job));
      }, end.signal);
      this.#show({ file, name: fileName(name, new Date(), file.type) });
      this.#say(job.ignored.length > 0 ? say("film_unused", { names: job.ignored.join(", ") }) : say("film_done"));
    } catch (error) {
      if (end.signal.aborted) this.#say(say("film_cancelled"));
      else this.#say(sentence(error), true);
    }
    this.#end = null;
    this.#progress(null);
  }

  /** So far a film is done, in percent; null: none is being made. @param {number | null} percent */
  #progress(percent) {
    element("make").textContent = say(percent === null ? "film_make" : "film_cancel");
    element("progress").hidden = percent === null;
    element("progress").value = percent ?? 0;
  }

  /** @param {string} sentence @param {boolean} [wrong] */
  #say(sentence, wrong = false) {
    element("note").textContent = sentence;
    element("note").classList.toggle("wrong", wrong);
  }

  /** A finished film, to see and to keep; null: take the last one away. @param {{ file: Blob, name: string } | null} film */
  #show(film) {
    const [video, save] = [element("video"), element("save")];
    if (video.src) URL.revokeObjectURL(video.src);
    element("result").hidden = film === null;
    if (!film) return video.removeAttribute("src");
    video.src = save.href = URL.createObjectURL(film.file);
    save.download = film.name;
  }
}
