// `<causeway-world src="ws://…" prompt="a meadow">`: a world inside any page. It starts when it is clicked, or at once with the
// attribute `autostart`, and takes the keyboard while it has the focus.
//
// Attributes, all read at the start: `src`, `prompt`, `size` ("832x480"), `fps`, `seed`, `format` ("jpeg", "webp", "raw", "h264"), `key`,
// `autostart`. Events: `start`, `end` (with `detail`, an error or null).

import { DEFAULT } from "./bindings.js";
import { Client } from "./client.js";
import { Pictures } from "./pictures.js";
import { Screen } from "./screen.js";
import { size } from "./world.js";

/** Until the server has said it. */
const FPS = 16;

const STYLE = `
  :host { display: inline-block; position: relative; width: 832px; max-width: 100%; background: #000; cursor: pointer; }
  :host(:focus-visible) { outline: 3px solid Highlight; }
  canvas { display: block; width: 100%; height: auto; }
  canvas + canvas { position: absolute; inset: 0; height: 100%; }
  canvas[hidden] { display: none; }
  .crisp { image-rendering: pixelated; }
  p { position: absolute; inset: auto 0 0; margin: 0; padding: 0.5em 1em; font: 1rem system-ui; color: #fff; background: #000a; }
  p:empty { display: none; }
`;

export class CausewayWorld extends HTMLElement {
  /** The walk that runs; its methods steer it. @type {Client | null} */
  client = null;
  #screen;
  #note;
  /** @type {Worker | null} */
  #decoder = null;
  /** @type {Pictures | null} */
  #pictures = null;
  #walks = 0;
  /** @type {Set<string>} the codes of the keys that are down */
  #down = new Set();

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const [below, above] = [document.createElement("canvas"), document.createElement("canvas")];
    Object.assign(below, { width: 832, height: 480 });
    above.hidden = true;
    this.#note = document.createElement("p");
    this.#note.setAttribute("role", "status");
    root.append(below, above, this.#note);
    this.#screen = new Screen(below, above);
    this.#screen.how = null;
    this.addEventListener("click", () => this.#wanted());
    this.addEventListener("keydown", (event) => this.#key(event, true));
    this.addEventListener("keyup", (event) => this.#key(event, false));
    this.addEventListener("blur", () => this.#letGo());
  }

  connectedCallback() {
    if (!this.hasAttribute("tabindex")) this.tabIndex = 0;
    if (!this.hasAttribute("aria-label")) this.setAttribute("aria-label", this.getAttribute("prompt") ?? "a world");
    if (this.hasAttribute("autostart")) this.start();
    else this.#say("▶");
  }

  disconnectedCallback() {
    this.stop();
  }

  /** Begin a walk, and end the one that runs. Attributes are read here. */
  start() {
    this.stop();
    const walk = ++this.#walks;
    const given = (/** @type {string} */ name) => this.getAttribute(name) ?? undefined;
    const number = (/** @type {string} */ name) => (this.hasAttribute(name) ? Number(given(name)) : undefined);
    const format = /** @type {import("./protocol.js").PictureFormat | undefined} */ (given("format"));
    const asked = given("size");
    this.#say("…");
    this.#decoder = new Worker(new URL("./decoder.js", import.meta.url), { type: "module" });
    this.#decoder.onmessage = ({ data }) => {
      const problem = this.#pictures?.decoded(data, performance.now());
      if (problem) this.#say(problem);
    };
    this.#pictures = new Pictures(walk, this.#decoder, number("fps") ?? FPS);
    const client = new Client(new URL(given("src") ?? "", document.baseURI).href.replace(/^http/, "ws"), {
      prompt: given("prompt") ?? "", size: asked === undefined ? undefined : size(asked), fps: number("fps"), seed: number("seed"),
      format, key: given("key"),
    });
    this.client = client;
    this.dispatchEvent(new CustomEvent("start"));
    this.#play(client).then((error) => {
      if (walk !== this.#walks) return;
      this.stop();
      this.#say(error?.message ?? "▶");
      this.dispatchEvent(new CustomEvent("end", { detail: error }));
    });
    requestAnimationFrame(this.#draw);
  }

  /** End the walk. The last picture stays. */
  stop() {
    this.#walks += 1;
    this.client?.close();
    this.#decoder?.terminate();
    this.#pictures?.clear();
    this.client = this.#decoder = this.#pictures = null;
    this.#down.clear();
  }

  /** @param {Client} client @returns {Promise<Error | null>} how it ended */
  async #play(client) {
    try {
      for await (const pictures of client) {
        this.#say("");
        this.#pictures?.decode(pictures);
      }
      return null;
    } catch (error) {
      return /** @type {Error} */ (error);
    }
  }

  #draw = (/** @type {number} */ now) => {
    if (!this.#pictures) return;
    requestAnimationFrame(this.#draw);
    const frame = this.#pictures.due(now);
    if (frame) this.#screen.show(frame.bitmap);
  };

  #wanted() {
    this.focus();
    if (!this.client) this.start();
  }

  /** @param {KeyboardEvent} event @param {boolean} down */
  #key(event, down) {
    if (event.ctrlKey || event.metaKey || event.altKey) return this.#letGo();
    if (!this.client && down && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      return this.#wanted();
    }
    if (!(event.code in DEFAULT) || !this.client) return;
    event.preventDefault(); // arrows would scroll
    if (down === this.#down.has(event.code)) return;
    if (down) this.#down.add(event.code);
    else this.#down.delete(event.code);
    this.#hold();
  }

  /** Key-ups go elsewhere from here on. */
  #letGo() {
    if (this.#down.size === 0) return;
    this.#down.clear();
    this.#hold();
  }

  #hold() {
    this.client?.hold([...new Set([...this.#down].map((code) => DEFAULT[code]))]);
  }

  /** @param {string} text */
  #say(text) {
    if (this.#note.textContent !== text) this.#note.textContent = text;
  }
}

customElements.define("causeway-world", CausewayWorld);
