// Films on their way, in the browser's own database: a tab that closes leaves its film there, and a later visit offers it.

/**
 * @typedef {{ id: string, name: string, type: string, bytes: number, began: number, seenAt: number }} KeptFilm
 *   `began`, `seenAt`: when its tab began to record and was last seen to, in milliseconds of the epoch.
 */

const DATABASE = "causeway-films";
const FILMS = "films";
const PARTS = "parts";

/** A tab that records says so this often, also where no picture comes. */
const SEEN_EVERY_MS = 2000;
/** After this long without a word its tab is gone: five words, for a machine that is busy. */
export const LEFT_AFTER_MS = 10_000;

/** Nobody records this film any more. @param {Pick<KeptFilm, "seenAt">} film @param {number} now */
export const isLeft = ({ seenAt }, now) => Math.abs(now - seenAt) >= LEFT_AFTER_MS;

export class FilmStore {
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
  }

  /**
   * @returns {Promise<FilmStore>}
   * @throws where a browser has no database, or none for this page
   */
  static async open() {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(FILMS, { keyPath: "id" });
      opening.result.createObjectStore(PARTS, { keyPath: ["film", "index"] });
    };
    return new FilmStore(await answer(opening));
  }

  /**
   * @param {string} name the file's, once it is saved @param {string} type
   * @param {number} now
   */
  begin(name, type, now) {
    /** @type {KeptFilm} */
    const film = { id: crypto.getRandomValues(new Uint32Array(4)).join("-"), name, type, bytes: 0, began: now, seenAt: now };
    return new Keeper(this.#database, film);
  }

  /** Every film that is here, those included that are being recorded. @returns {Promise<KeptFilm[]>} */
  films() {
    return answer(this.#database.transaction(FILMS).objectStore(FILMS).getAll());
  }

  /** @param {KeptFilm} film @returns {Promise<Blob>} */
  async read({ id, type }) {
    const parts = await answer(this.#database.transaction(PARTS).objectStore(PARTS).getAll(partsOf(id)));
    return new Blob(parts.map(({ data }) => data), { type });
  }

  /** @param {string} id */
  forget(id) {
    const transaction = this.#database.transaction([FILMS, PARTS], "readwrite");
    transaction.objectStore(FILMS).delete(id);
    transaction.objectStore(PARTS).delete(partsOf(id));
    return finished(transaction);
  }
}

/** Keeps one film, part by part, for as long as that succeeds. */
class Keeper {
  #database;
  #film;
  #parts = 0;
  #keeps = true;

  /** @param {IDBDatabase} database @param {KeptFilm} film */
  constructor(database, film) {
    this.#database = database;
    this.#film = film;
  }

  get id() {
    return this.#film.id;
  }

  /** Whether all that was handed over can be had again. */
  get keeps() {
    return this.#keeps;
  }

  /** @param {Blob} data @param {number} now */
  add(data, now) {
    this.#film.bytes += data.size;
    this.#write(now, { film: this.#film.id, index: this.#parts++, data });
  }

  /** The tab still records. To be called often. @param {number} now */
  seen(now) {
    if (now - this.#film.seenAt >= SEEN_EVERY_MS) this.#write(now, null);
  }

  /** @param {number} now @param {{ film: string, index: number, data: Blob } | null} part */
  #write(now, part) {
    if (!this.#keeps) return;
    this.#film.seenAt = now;
    // A full disk, or a visitor who clears the page's data: what comes after could not be played without this part.
    const failed = () => (this.#keeps = false);
    try {
      const transaction = this.#database.transaction([FILMS, PARTS], "readwrite");
      transaction.objectStore(FILMS).put(this.#film);
      if (part) transaction.objectStore(PARTS).add(part);
      finished(transaction).catch(failed);
    } catch {
      failed();
    }
  }
}

/** @param {string} id */
const partsOf = (id) => IDBKeyRange.bound([id, 0], [id, Infinity]);

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const answer = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
const finished = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
