// The choice of a first frame: the world's own pictures, one of the visitor's, or none.

import { element } from "./element.js";
import { WALKING } from "./phase.js";
import { say } from "./words.js";

/**
 * @typedef {{ pick: (item: import("./world.js").GalleryItem) => void, upload: (file: File) => void,
 *   noPicture: () => void, goThere: () => void,
 *   place: (place: number) => void }} Actions  `goThere`: begin a walk there now.
 */

export class Gallery {
  #actions;
  /** @type {import("./phase.js").Phase} */
  #phase = "loading";

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    element("file").addEventListener("change", () => {
      const [file] = element("file").files;
      if (file) actions.upload(file);
      element("file").value = ""; // choosing the same file again is a choice too
    });
    element("no-picture").addEventListener("click", () => actions.noPicture());
    element("crop").addEventListener("input", (/** @type {any} */ { target }) => actions.place(Number(target.value)));
    element("go-there").addEventListener("click", () => actions.goThere());
    this.#listenToDrops();
  }

  /** @param {import("./world.js").Card} card @param {import("./world.js").GalleryItem[]} gallery */
  offer(card, gallery) {
    element("no-picture").hidden = card.needsFirstFrame;
    element("gallery").replaceChildren(...gallery.map((item) => this.#button(item)));
  }

  /** @param {import("./phase.js").Phase} phase */
  phase(phase) {
    this.#phase = phase;
    if (WALKING.includes(phase)) return;
    element("first-frame-note").textContent = "";
    element("go-there").hidden = true;
  }

  /** Which first frame is chosen. @param {{ gallery: string } | { file: string } | null} chosen */
  chosen(chosen) {
    for (const button of element("gallery").children) {
      button.setAttribute("aria-pressed", String(chosen !== null && "gallery" in chosen && button.dataset.name === chosen.gallery));
    }
    const file = chosen && "file" in chosen ? chosen.file : null;
    element("file-text").textContent = file ?? say("choose_picture");
    document.querySelector(".upload")?.classList.toggle("chosen", file !== null);
    element("no-picture").setAttribute("aria-pressed", String(chosen === null));
    const walking = WALKING.includes(this.#phase);
    const which = say(chosen ? "this_picture" : "prompt_alone");
    element("first-frame-note").textContent = walking ? say("next_start", { which }) : "";
    element("go-there").hidden = !walking;
  }

  /** Of a visitor's own picture: which part is used, null without a choice, and what a world can make of it. @param {{ place: number | null, note: string }} own */
  own({ place, note }) {
    element("crop-field").hidden = place === null;
    if (place !== null) element("crop").value = String(place);
    element("own-note").textContent = note;
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
  #button(item) {
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
}
