// Who watches, and who steers: the player's links for others, what it hands over and takes back, and what a viewer is told.

import { element } from "./element.js";
import { handOverEvent, shareEvent, takeBackEvent } from "./protocol.js";
import { Reins } from "./reins.js";
import { watchLink, watchToken } from "./share.js";
import { say } from "./words.js";

/** @typedef {"view" | "control" | "director"} Role */

/** What a link lets its viewers do, from the least on. @type {readonly Role[]} */
const ROLES = ["view", "control", "director"];

export class Audience {
  #page;
  #send;
  /** The link for each role, once it was asked for. @type {Map<string, string>} */
  #links = new Map();
  /** @type {import("./protocol.js").Viewers["guests"]} */
  #guests = [];
  /** What a viewer is told of the player. */
  #stage = "";
  /** What this page watches; null: it is a player's. @type {string | null} */
  token;
  reins = new Reins();

  /** @param {string} page the page's own address @param {(event: object) => void} send to the session, if there is one */
  constructor(page, send) {
    this.#page = page;
    this.#send = send;
    this.token = watchToken(new URL(page).hash);
    document.body.classList.toggle("watches", this.token !== null);
    element("watch").hidden = this.token !== null;
    element("watching").hidden = this.token === null;
    element("watch").addEventListener("click", () => element("company").showModal());
    for (const role of ROLES) element(`invite-${role}`).addEventListener("click", () => this.#invite(role));
    for (const id of ["take-back", "company-take-back"]) element(id).addEventListener("click", () => send(takeBackEvent()));
  }

  /** A walk begins: nobody watches it. */
  begin() {
    this.#links.clear();
    this.#guests = [];
    this.reins.begin(this.token !== null);
    this.#count(0);
    this.#tell("");
    this.#stage = "";
    this.#showReins();
    element("watch").disabled = true;
    if (element("company").open) element("company").close();
  }

  /** The server is one of ours. */
  possible() {
    element("watch").disabled = false;
  }

  /** The walk has ended. */
  end() {
    this.begin();
  }

  /** @param {import("./protocol.js").Shared} shared */
  shared({ token, role }) {
    const link = watchLink(this.#page, token);
    this.#links.set(role, link);
    this.#copy(link, role);
  }

  /** @param {import("./protocol.js").Viewers} viewers @returns {boolean} whether another leads the camera now */
  viewers({ count, guests, ...holders }) {
    this.#guests = guests;
    this.#count(count);
    const changed = this.reins.held(holders);
    this.#showReins();
    return changed;
  }

  /** This page is a viewer's. @param {import("./protocol.js").Watching} watching */
  watching({ viewerId }) {
    this.reins.am(viewerId);
  }

  /** To a viewer. @param {import("./protocol.js").Stage} stage @returns {boolean} whether another leads the camera now */
  stage({ here, paused, ...holders }) {
    this.#stage = here ? (paused ? say("player_paused") : "") : say("player_away");
    const changed = this.reins.held(holders);
    this.#showReins();
    return changed;
  }

  /** Who writes the prompt, for its field. */
  get directorNote() {
    return this.token === null && !this.reins.directs ? say("prompt_with", { viewer: this.reins.prompt }) : "";
  }

  #showReins() {
    const { said, leads, directs, camera, prompt } = this.reins;
    const text = said ? say(said.word, said.values) : "";
    document.body.classList.toggle("leads", leads);
    document.body.classList.toggle("directs", directs);
    if (this.token !== null) {
      element("watching-text").textContent = this.#stage || text || say("you_watch");
      return;
    }
    const handedOver = said !== null;
    element("reins").hidden = element("company-take-back").hidden = !handedOver;
    element("reins-text").textContent = text;
    for (const id of ["take-back", "company-take-back"]) element(id).textContent = say(leads ? "take_back_prompt" : "take_back");
    element("guests").replaceChildren(...this.#guests.map((guest) => this.#guest(guest, { camera, prompt })));
    element("no-guests").hidden = this.#guests.length > 0;
  }

  /**
   * A viewer that may be handed something, and what it holds.
   * @param {{ viewerId: number, role: string }} guest @param {{ camera: number, prompt: number }} holders
   */
  #guest({ viewerId, role }, { camera, prompt }) {
    const line = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = say(role === "director" ? "guest_director" : "guest_control", { viewer: viewerId });
    const holds = (role === "director" ? prompt : camera) === viewerId;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = say(holds ? "guest_holds" : role === "director" ? "hand_over_prompt" : "hand_over");
    button.disabled = holds;
    button.addEventListener("click", () => this.#send(handOverEvent(viewerId)));
    line.append(name, button);
    return line;
  }

  /** @param {number} count */
  #count(count) {
    element("watch-count").textContent = count > 0 ? String(count) : "";
    element("watch").title = count > 0 ? say("watched_title", { count }) : say("watch_title");
    element("company-count").textContent = count > 0 ? say("company_count", { count }) : say("company_nobody");
  }

  /** @param {Role} role */
  #invite(role) {
    const link = this.#links.get(role);
    if (link === undefined) this.#send(shareEvent(role));
    else this.#copy(link, role);
  }

  /** @param {string} link @param {string} role */
  async #copy(link, role) {
    try {
      await navigator.clipboard.writeText(link);
      this.#tell(say(role === "control" ? "control_copied" : role === "director" ? "director_copied" : "watch_copied"));
    } catch {
      // A page without https has no clipboard: the link can be copied by hand.
      this.#tell(say("watch_link", { link }));
    }
  }

  /** @param {string} sentence */
  #tell(sentence) {
    element("company-told").textContent = sentence;
  }
}
