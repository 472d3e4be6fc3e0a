// The key for a server that asks for one. It may come in the address, after `#key=`, which a browser sends to no server. It is
// taken out of the address, where it would be seen and bookmarked, and kept for as long as the tab is open.

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem">} Store */

export class Key {
  #name;
  #store;
  /** @type {string | null} */
  #value = null;

  /**
   * @param {string} page the page's own address: another path of the same host may be another server
   * @param {Store | null} store null where the browser keeps nothing
   */
  constructor(page, store) {
    this.#name = `causeway-key ${new URL(page).pathname}`;
    this.#store = store;
    const given = keyOf(page);
    if (given !== null) this.value = given;
    else this.#value = store?.getItem(this.#name) ?? null;
  }

  /** Null: none is known. */
  get value() {
    return this.#value;
  }

  set value(value) {
    this.#value = value;
    try {
      if (value === null) this.#store?.removeItem(this.#name);
      else this.#store?.setItem(this.#name, value);
    } catch {
      // A full or forbidden store: then the key lasts until the page is left.
    }
  }
}

/** @param {string} page @returns {string | null} */
const keyOf = (page) => parameters(page).get("key") || null;

/**
 * The address without its key; null if it has none.
 * @param {string} page
 */
export function withoutKey(page) {
  const url = new URL(page);
  const rest = parameters(page);
  if (!rest.has("key")) return null;
  rest.delete("key");
  url.hash = rest.toString();
  return url.href.replace(/#$/, "");
}

/** What stands after the `#`. @param {string} page */
const parameters = (page) => new URLSearchParams(new URL(page).hash.slice(1));
