// Recordings of the walk: begins and ends them, keeps them in the browser meanwhile, and offers what closed tabs left behind.

import { endingSentence, fileName, Film, filmType, timeText } from "./film.js";
import { withLength } from "./film_length.js";
import { FilmStore, isLeft, LEFT_AFTER_MS } from "./film_store.js";
import { sentence } from "./sentence.js";
import { say } from "./words.js";

/** An MP4 is handed over from key frame to key frame: no more than this can be lost with a tab. It also makes a film easy to wind. */
const KEY_EVERY_MS = 2000;
const FILM_TYPE = "captureStream" in HTMLCanvasElement.prototype ? filmType(globalThis.MediaRecorder) : null;

export class Recorder {
  #panel;
  #tools;
  #screen;
  /** The name of the world that is recorded. @type {() => string} */
  #world;
  /** Told when recording begins and ends. @type {(recording: boolean) => void} */
  #changed;
  /** Draws on each picture of a recording, where that is wished. @type {() => ((context: CanvasRenderingContext2D) => void) | null} */
  #burn;
  /** What is being recorded. @type {Film | null} */
  #film = null;
  /** Null where the browser has no database for this page. @type {FilmStore | null} */
  #films = null;
  /** What keeps the film for a tab that closes. @type {ReturnType<FilmStore["begin"]> | null} */
  #keeper = null;

  /**
   * @param {import("./panel.js").Panel} panel @param {import("./tools.js").Tools} tools
   * @param {import("./screen.js").Screen} screen
   * @param {() => string} world @param {() => ((context: CanvasRenderingContext2D) => void) | null} burn
   * @param {(recording: boolean) => void} changed
   */
  constructor(panel, tools, screen, world, burn, changed) {
    this.#panel = panel;
    this.#tools = tools;
    this.#screen = screen;
    this.#world = world;
    this.#burn = burn;
    this.#changed = changed;
    if (!FILM_TYPE) tools.cannotRecord(say("cannot_record"));
    FilmStore.open().then(
      (store) => {
        this.#films = store;
        this.#offerLeft();
      },
      () => {}, // then the page asks before it closes while it records
    );
  }

  get recording() {
    return this.#film !== null;
  }

  /** The page closes now: whether that would lose a recording. */
  get wouldLose() {
    return this.#film !== null && !this.#keeper?.keeps;
  }

  /** Begins to record, or ends it. */
  toggle() {
    if (this.#film) return this.#film.end("asked");
    if (!FILM_TYPE) return;
    const name = fileName(this.#world(), new Date(), FILM_TYPE);
    try {
      this.#screen.burn = this.#burn();
      const recorder = new MediaRecorder(this.#screen.roll(), /** @type {MediaRecorderOptions} */ ({ mimeType: FILM_TYPE, videoKeyFrameIntervalDuration: KEY_EVERY_MS }));
      const came = (/** @type {Blob} */ part) => this.#keeper?.add(part, Date.now());
      this.#film = new Film(recorder, performance.now(), came, (file, ending) => this.#keep(file, name, ending));
    } catch (error) {
      this.#screen.cut();
      return this.#panel.alert(say("recording_failed", { why: sentence(error) }));
    }
    this.#keeper = this.#films?.begin(name, FILM_TYPE, Date.now()) ?? null;
    this.#tools.recording(timeText(0));
    this.#changed(true);
  }

  /** Saves the picture that is shown. */
  async snapshot() {
    const name = fileName(this.#world(), new Date(), "image/png");
    try {
      this.#tools.save(await this.#screen.snapshot(), name);
    } catch (error) {
      this.#panel.alert(say("snapshot_failed", { why: sentence(error) }));
    }
  }

  /** To be called often. @param {number} now */
  tick(now) {
    this.#film?.tick(now);
    this.#keeper?.seen(Date.now());
  }

  /** Says for how long it has been recording. @param {number} now */
  sayTime(now) {
    if (this.#film) this.#tools.recording(timeText(this.#film.elapsedMs(now)));
  }

  /** The walk is over. */
  walkEnded() {
    this.#film?.end("session over");
  }

  /** @param {import("./film_store.js").KeptFilm} left */
  async saveLeft(left) {
    try {
      if (this.#films) this.#tools.save(await withLength(await this.#films.read(left), left.seenAt - left.began), left.name);
    } catch (error) {
      this.#panel.alert(say("recording_unread", { why: sentence(error) }));
    }
  }

  /** @param {import("./film_store.js").KeptFilm} left */
  async removeLeft({ id }) {
    await this.#films?.forget(id);
    this.#offerLeft();
  }

  /** @param {Blob} file @param {string} name @param {import("./film.js").Ending} ending */
  async #keep(file, name, ending) {
    const kept = this.#keeper;
    const ms = this.#film?.elapsedMs(performance.now()) ?? 0;
    this.#film = this.#keeper = null;
    this.#screen.cut();
    this.#tools.recording(null);
    if (file.size > 0) this.#tools.save(await withLength(file, ms), name);
    // If that fails, it is offered once more at a later visit.
    if (kept) this.#films?.forget(kept.id).catch(() => {});
    const said = endingSentence(ending, file.size);
    if (said) this.#panel.alert(said);
    this.#changed(false);
  }

  /** Offers the films that tabs left behind when they closed. */
  async #offerLeft() {
    const kept = (await this.#films?.films()) ?? [];
    const now = Date.now();
    const others = kept.filter(({ id }) => id !== this.#keeper?.id);
    this.#tools.leftFilm(others.find((film) => isLeft(film, now)) ?? null);
    // The others are of tabs that record, or closed just now.
    if (others.some((film) => !isLeft(film, now))) setTimeout(() => this.#offerLeft(), LEFT_AFTER_MS);
  }
}
