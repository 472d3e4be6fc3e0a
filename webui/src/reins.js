// Who steers: the player, or viewers to whom it handed the camera or the prompt. Each has one holder.

/** As the wire names the player. */
const PLAYER = 0;

export class Reins {
  /** Who this page is. */
  #me = PLAYER;
  camera = PLAYER;
  prompt = PLAYER;

  /** A walk begins: its player steers. @param {boolean} watches this page is a viewer's, whose number comes later */
  begin(watches) {
    this.#me = watches ? -1 : PLAYER;
    this.camera = this.prompt = PLAYER;
  }

  /** This page is the viewer of this number. @param {number} viewerId */
  am(viewerId) {
    this.#me = viewerId;
  }

  /** @param {{ camera: number, prompt: number }} holders @returns {boolean} whether another leads the camera now */
  held({ camera, prompt }) {
    const changed = camera !== this.camera;
    [this.camera, this.prompt] = [camera, prompt];
    return changed;
  }

  /** Whether this page leads the camera. */
  get leads() {
    return this.camera === this.#me;
  }

  /** Whether this page writes the prompt. */
  get directs() {
    return this.prompt === this.#me;
  }

  /**
   * What is said of it; null: the player steers alone.
   * @returns {{ word: import("./words.js").Word, values: Record<string, number> } | null}
   */
  get said() {
    const { camera, prompt, leads, directs } = this;
    if (this.#me !== PLAYER) {
      if (leads) return { word: directs ? "you_steer" : "you_walk", values: {} };
      return directs ? { word: "you_direct", values: {} } : null;
    }
    if (leads && directs) return null;
    if (leads) return { word: "other_directs", values: { viewer: prompt } };
    if (directs) return { word: "other_walks", values: { viewer: camera } };
    return camera === prompt
      ? { word: "other_steers", values: { viewer: camera } }
      : { word: "others_steer", values: { walker: camera, director: prompt } };
  }
}
