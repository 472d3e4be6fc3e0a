// The elements of the page's document, by their ids.

/** @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);

/** Where a key press writes or selects. @param {EventTarget | null} target */
export const isField = (target) =>
  target instanceof Element && target.matches("textarea, select, [contenteditable], input:not([type='file'])");
