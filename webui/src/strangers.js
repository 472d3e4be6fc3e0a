// Words of the prompt that the world does not know, below its field; a press on a suggestion puts it into the prompt.

import { element } from "./element.js";
import { say } from "./words.js";

export class Strangers {
  #replace;

  /** @param {(prompt: string) => void} replace the prompt with this one */
  constructor(replace) {
    this.#replace = replace;
  }

  clear() {
    element("strangers").replaceChildren();
  }

  /** @param {import("./protocol.js").Read} read */
  tell({ unknown, instead }) {
    if (unknown.length === 0) return this.clear();
    const said = unknown.flatMap((told) => [" ", ...this.#stranger(told)]);
    const begins = instead === null ? [] : [" ", say("begins_instead", { prompt: instead })];
    element("strangers").replaceChildren(say("unknown_words"), ...said, ...begins);
  }

  /** @param {{ word: string, suggestion: string | null }} told @returns {(string | Node)[]} */
  #stranger({ word, suggestion }) {
    const stranger = document.createElement("span");
    stranger.className = "stranger";
    stranger.textContent = word;
    if (suggestion === null) return [stranger];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = suggestion;
    button.title = say("use_word", { word, suggestion });
    button.addEventListener("click", () => {
      this.#replace(withWord(element("prompt").value, word, suggestion));
      for (const told of [button, stranger]) told.remove();
    });
    return [stranger, " ", button];
  }
}

/**
 * A prompt with one word in place of another, wherever it stands for itself.
 * @param {string} prompt @param {string} word in small letters @param {string} suggestion
 */
export function withWord(prompt, word, suggestion) {
  return prompt.replace(/[\p{L}\p{N}]+/gu, (found) => (found.toLowerCase() === word ? suggestion : found));
}
