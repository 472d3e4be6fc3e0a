// What the page says, in the visitor's language. Each language is one file.

import { EN } from "./words/en.js";
import { ZH } from "./words/zh.js";

/** @typedef {keyof typeof EN} Word */

const LANGUAGES = { en: EN, zh: ZH };
/** @typedef {keyof typeof LANGUAGES} Language */

let language = /** @type {Language} */ ("en");

/**
 * The first of these that the page speaks; English if none.
 * @param {readonly string[]} wished as browsers list them: `zh-CN`, `en`
 * @returns {Language}
 */
export function spoken(wished) {
  for (const one of wished) {
    const [code] = one.toLowerCase().split("-");
    if (code in LANGUAGES) return /** @type {Language} */ (code);
  }
  return "en";
}

/** From now on the page speaks this. @param {Language} next */
export function speak(next) {
  language = next;
}

/**
 * @param {Word} word @param {Record<string, string | number>} [values] for the `{names}` in it
 */
export const say = (word, values = {}) =>
  LANGUAGES[language][word].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/** What an element takes a word for, by the attribute that names the word. */
const PLACES = { word: "textContent", wordLabel: "ariaLabel", wordTitle: "title", wordPlaceholder: "placeholder", wordAlt: "alt" };

/** Fills in the words of a document. @param {Document} page */
export function label(page) {
  page.documentElement.lang = language;
  for (const [name, property] of Object.entries(PLACES)) {
    const attribute = `data-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    for (const element of page.querySelectorAll(`[${attribute}]`)) {
      // @ts-ignore: each of these takes its property
      element[property] = say(/** @type {Word} */ (element.getAttribute(attribute)));
    }
  }
}
