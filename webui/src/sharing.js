// What a visit takes from a link or from the last visit, and the link that it gives.

import { element } from "./element.js";
import { sizeText } from "./protocol.js";
import { steps } from "./script.js";
import { sentence } from "./sentence.js";
import { withPrompt } from "./settings.js";
import { linkTo, shared } from "./share.js";
import { say } from "./words.js";

/** A message that nobody has to answer goes by itself. */
const TOLD_MS = 5000;

export class Sharing {
  #page;
  #settings;
  #panel;
  #beginning;
  /** The keys of a link, for the first start. @type {string[][]} */
  #script = [];
  #untold = 0;

  /**
   * @param {string} page the page's own address @param {import("./settings.js").Settings} settings
   * @param {import("./panel.js").Panel} panel @param {import("./beginning.js").Beginning} beginning
   */
  constructor(page, settings, panel, beginning) {
    this.#page = page;
    this.#settings = settings;
    this.#panel = panel;
    this.#beginning = beginning;
    element("last-prompts").addEventListener("change", (/** @type {any} */ { target }) => {
      panel.prompt = target.value;
      target.value = "";
    });
    settings.listen(({ prompts }) => {
      element("last-prompts").hidden = prompts.length === 0;
      const title = new Option(say("last_prompts"), "");
      element("last-prompts").replaceChildren(title, ...prompts.map((prompt) => new Option(prompt)));
    });
  }

  /**
   * A world is known: begin as a link says, or as the last walk in it began, or with its first picture.
   * @param {import("./world.js").Card} card @param {import("./world.js").GalleryItem[]} pictures
   * @returns {string | null} what to say over the picture
   */
  begin(card, pictures) {
    const [first] = pictures;
    if (first) this.#beginning.pick(first);
    else this.#beginning.noPicture();
    let link = null;
    try {
      link = shared(new URL(this.#page).hash);
    } catch (error) {
      this.#panel.alert(sentence(error));
    }
    const { last } = this.#settings.values;
    const wish = link ?? (last?.world === card.name ? last : null);
    if (!wish) return null;
    const same = wish.world === card.name;
    const picture = pictures.find(({ name }) => name === wish.picture);
    if (picture) this.#beginning.pick(picture);
    else if (wish.picture === null && !card.needsFirstFrame) this.#beginning.noPicture();
    this.#panel.fill({ ...wish, size: same ? wish.size : null });
    this.#beginning.preview();
    if (!link) return null;
    if (!same) this.#panel.alert(say("link_other_world", { world: link.world, own: card.name }));
    else if (link.picture !== null && !picture) this.#panel.alert(say("link_no_picture", { picture: link.picture }));
    if (!same || link.keys === "") return null;
    try {
      this.#script = steps(link.keys);
    } catch (error) {
      this.#panel.alert(sentence(error));
      return null;
    }
    return say("link_ready");
  }

  /** The keys that the next walk begins with: a link's, once. */
  takeScript() {
    const script = this.#script;
    this.#script = [];
    return script;
  }

  /** A walk begins: the next visit begins like this. @param {import("./world.js").Card} card */
  began(card) {
    const { prompt, size, seed } = this.#panel.values();
    const { picture } = this.#beginning;
    const name = picture?.own ? null : picture?.name ?? null;
    this.#settings.set({ last: { world: card.name, seed, prompt, picture: name, size: sizeText(size), keys: "" } });
    this.used(prompt);
  }

  /** @param {string} prompt */
  used(prompt) {
    this.#settings.set({ prompts: withPrompt(this.#settings.values.prompts, prompt) });
  }

  /** Copies a link to the walk as it is in the fields. @param {import("./world.js").Card} card @param {string} keys held so far */
  async share(card, keys) {
    let link;
    const { picture } = this.#beginning;
    try {
      const { prompt, size, seed } = this.#panel.values();
      const name = picture?.own ? null : picture?.name ?? null;
      link = linkTo(this.#page, { world: card.name, seed, prompt, picture: name, size: sizeText(size), keys });
    } catch (error) {
      return this.#panel.alert(sentence(error));
    }
    try {
      await navigator.clipboard.writeText(link);
      this.#tell(say(picture?.own ? "link_without_picture" : "link_copied"));
    } catch {
      // A page without https has no clipboard.
      history.replaceState(null, "", link);
      this.#tell(say("link_in_address"));
    }
  }

  /** @param {string} sentence */
  #tell(sentence) {
    element("told").textContent = sentence;
    clearTimeout(this.#untold);
    this.#untold = setTimeout(() => (element("told").textContent = ""), TOLD_MS);
  }
}
