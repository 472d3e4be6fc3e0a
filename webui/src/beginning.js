// Where the next walk begins: the first frame that is chosen, and its preview on the stage.

import * as firstFrames from "./first_frame.js";
import { sentence } from "./sentence.js";

export class Beginning {
  #panel;
  #gallery;
  #screen;
  /** Whether the stage belongs to a walk. @type {() => boolean} */
  #walking;
  /** @type {firstFrames.FirstFrame | null} */
  #chosen = null;

  /**
   * @param {import("./panel.js").Panel} panel @param {import("./gallery.js").Gallery} gallery
   * @param {import("./screen.js").Screen} screen @param {() => boolean} walking
   */
  constructor(panel, gallery, screen, walking) {
    this.#panel = panel;
    this.#gallery = gallery;
    this.#screen = screen;
    this.#walking = walking;
  }

  /** A picture is chosen; without one, the prompt alone says what the world looks like. */
  get hasPicture() {
    return this.#chosen !== null;
  }

  /** The chosen picture as a server takes it, null without one. @param {import("./protocol.js").Size} size */
  async bytes(size) {
    return (await this.#chosen?.bytes(size)) ?? null;
  }

  /** @param {import("./world.js").GalleryItem} item */
  pick(item) {
    this.#choose(firstFrames.fromGallery(item), { gallery: item.name });
    this.#panel.prompt = item.prompt;
  }

  /** @param {File} file */
  async upload(file) {
    try {
      this.#choose(await firstFrames.fromFile(file), { file: file.name });
    } catch (error) {
      this.#panel.alert(sentence(error));
    }
  }

  noPicture() {
    this.#choose(null, null);
  }

  /** Before the walk, the stage shows where it will begin. */
  async preview() {
    const chosen = this.#chosen;
    if (this.#walking()) return;
    try {
      const bitmap = (await chosen?.bitmap(this.#panel.size)) ?? null;
      if (!this.#walking() && chosen === this.#chosen) this.#screen.preview(bitmap, this.#panel.size);
    } catch (error) {
      this.#panel.alert(sentence(error));
    }
  }

  /** @param {firstFrames.FirstFrame | null} chosen @param {Parameters<import("./gallery.js").Gallery["chosen"]>[0]} label */
  #choose(chosen, label) {
    this.#chosen = chosen;
    this.#gallery.chosen(label);
    this.preview();
  }
}
