// Where the next walk begins: the first frame that is chosen, its preview on the stage, and what a link holds on the way.

import * as firstFrames from "./first_frame.js";
import { sentence } from "./sentence.js";
import { say } from "./words.js";

/** Worlds up to this many pixels know little: they say so of a visitor's own picture. */
const SMALL_PIXELS = 256 * 256;

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

  /** The chosen picture: one of the world's own by its name. @returns {{ name: string, own: boolean } | null} */
  get picture() {
    return this.#chosen;
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

  /** A visitor's own picture is dragged. @param {number} x @param {number} y in parts of the stage */
  drag(x, y) {
    if (!this.#chosen?.own) return;
    this.#chosen.drag(this.#panel.size, x, y);
    this.preview();
  }

  /** Which part of a visitor's own picture. @param {number} place 0 … 1 */
  place(place) {
    if (!this.#chosen?.own) return;
    this.#chosen.place = place;
    this.preview();
  }

  /** Before the walk, the stage shows where it will begin. */
  async preview() {
    const chosen = this.#chosen;
    this.#sayPart();
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

  #sayPart() {
    const { size } = this.#panel;
    const own = this.#chosen?.own ? this.#chosen : null;
    const small = own && size.width * size.height <= SMALL_PIXELS;
    this.#gallery.own({
      place: own && own.room(size) > 0 ? own.place : null,
      note: small ? say("own_small", { size: `${size.width}×${size.height}` }) : "",
    });
  }
}
