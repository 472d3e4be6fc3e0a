// The buttons over the picture, and the recording that is left of an earlier visit.

import { element } from "./element.js";
import { WALKING } from "./phase.js";
import { say } from "./words.js";

/**
 * @typedef {import("./film_store.js").KeptFilm} KeptFilm
 * @typedef {{ enlarge: (how: import("./screen.js").How) => void, pause: () => void, back: () => void, record: () => void, snapshot: () => void,
 *   share: () => void, wouldLose: () => boolean,
 *   saveLeft: (film: KeptFilm) => void, removeLeft: (film: KeptFilm) => void }} Actions
 */

/** Time for a browser to begin a download: it does not report when it did. */
const SAVING_MS = 60_000;

export class Tools {
  /** @type {import("./phase.js").Phase} */
  #phase = "loading";
  #pausable = false;
  #goesBack = false;
  #recordable = true;
  #recording = false;
  /** What is offered of an earlier visit. @type {KeptFilm | null} */
  #left = null;

  /** @param {Actions} actions */
  constructor(actions) {
    element("how").addEventListener("change", () => actions.enlarge(element("how").value));
    element("pause").addEventListener("click", () => actions.pause());
    for (const id of /** @type {const} */ (["back", "record", "snapshot", "share"])) {
      element(id).addEventListener("click", () => actions[id]());
    }
    for (const [id, action] of /** @type {const} */ ([["left-film-save", "saveLeft"], ["left-film-remove", "removeLeft"]])) {
      element(id).addEventListener("click", () => {
        if (this.#left) actions[action](this.#left);
      });
    }
    window.addEventListener("beforeunload", (event) => {
      if (actions.wouldLose()) event.preventDefault();
    });
  }

  /** How the picture is enlarged. @param {import("./screen.js").How} how */
  enlarged(how) {
    element("how").value = how;
  }

  /** @param {import("./phase.js").Phase} phase */
  phase(phase) {
    this.#phase = phase;
    element("pause-text").textContent = say(phase === "paused" ? "resume" : "pause");
    element("pause").setAttribute("aria-pressed", String(phase === "paused"));
    this.#check();
  }

  /** Whether this server takes pauses. @param {boolean} possible */
  set pausable(possible) {
    this.#pausable = possible;
    this.#check();
  }

  /** What this session offers. A pause is known by its `session` message. @param {readonly string[]} features */
  offers(features) {
    this.#pausable = features.includes("pause");
    this.#goesBack = features.includes("rewind");
    this.#check();
  }

  /** This browser cannot record, and why. @param {string} why */
  cannotRecord(why) {
    this.#recordable = false;
    element("record").title = why;
    this.#check();
  }

  /** For how long it has been recording, as text; null: it is not. @param {string | null} time */
  recording(time) {
    this.#recording = time !== null;
    element("record").setAttribute("aria-pressed", String(this.#recording));
    element("record-time").textContent = time ?? "";
    this.#check();
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

  /** What is recorded can be ended also while the line is down. */
  #check() {
    const walking = WALKING.includes(this.#phase);
    element("snapshot").disabled = !WALKING.includes(this.#phase);
    element("pause").disabled = !walking || !this.#pausable;
    element("back").disabled = this.#phase !== "running" || !this.#goesBack;
    element("record").disabled = !this.#recordable || !(walking || this.#recording);
  }
}
