// Walks that were recorded: by the server, which offers the one that has just ended, or in a file of the visitor's.

import { below } from "./address.js";
import { element } from "./element.js";
import { say } from "./words.js";

/** @typedef {{ file: Uint8Array } | { session: string }} Recording */

/** The most bytes that a server takes. */
const BYTES_MAX = 32 << 20;
const ENDING = ".causeway";

/** Whether this file is a recording, by its name. @param {{ name: string }} file */
export const isRecording = ({ name }) => name.toLowerCase().endsWith(ENDING);

export class Kept {
  #page;
  #key;
  #goOn;
  #alert;
  /** What is offered. @type {Recording | null} */
  #offered = null;

  /**
   * @param {string} page the page's own address @param {import("./key.js").Key} key
   * @param {{ goOn: (recording: Recording) => void, alert: (sentence: string) => void }} actions
   */
  constructor(page, key, { goOn, alert }) {
    this.#page = page;
    this.#key = key;
    this.#goOn = goOn;
    this.#alert = alert;
    element("kept-go-on").addEventListener("click", () => this.#offered && this.#goOn(this.#offered));
    element("kept-close").addEventListener("click", () => this.hide());
    element("kept-save").addEventListener("click", (/** @type {Event} */ event) => {
      // A server that asks for a key takes it in a header, which a link does not send.
      if (this.#key.value === null) return;
      event.preventDefault();
      this.#save();
    });
    element("kept-file").addEventListener("change", () => {
      const [file] = element("kept-file").files;
      if (file) this.open(file);
      element("kept-file").value = "";
    });
  }

  /** A walk that the server has recorded is over. @param {string} session */
  ended(session) {
    this.#offer({ session }, say("kept_walk"));
    element("kept-save").href = this.#address(session);
    element("kept-save").download = `${session}${ENDING}`;
    element("kept-save").hidden = false;
  }

  /** A visitor's own file. @param {File} file */
  async open(file) {
    if (file.size > BYTES_MAX) return this.#alert(say("kept_large", { name: file.name, megabytes: BYTES_MAX >> 20 }));
    const bytes = new Uint8Array(await file.arrayBuffer());
    this.#offer({ file: bytes }, say("kept_file", { name: file.name }));
  }

  hide() {
    this.#offered = null;
    element("kept").hidden = true;
  }

  /** @param {Recording} recording @param {string} said */
  #offer(recording, said) {
    this.#offered = recording;
    element("kept-text").textContent = said;
    element("kept-save").hidden = true;
    element("kept").hidden = false;
  }

  async #save() {
    if (!this.#offered || !("session" in this.#offered)) return;
    const { session } = this.#offered;
    const headers = { Authorization: `Bearer ${this.#key.value}` };
    const blob = await (await fetch(this.#address(session), { headers, cache: "no-store" })).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${session}${ENDING}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  /** @param {string} session */
  #address(session) {
    return below(`/v1/realtime_video/sessions/${session}/recording`, this.#page);
  }
}
