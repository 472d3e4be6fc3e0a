// The field for a key, over the picture: there while the server asks for one.

import { element } from "./element.js";

export class KeyField {
  /** @param {(key: string) => void} entered */
  constructor(entered) {
    element("key-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      const key = element("key").value.trim();
      if (key === "") return;
      element("key").value = "";
      entered(key);
    });
  }

  show() {
    element("key-form").hidden = false;
    element("key").focus({ preventScroll: true });
  }

  hide() {
    element("key-form").hidden = true;
  }
}
