// Gives the focus back to the stage after a choice, so that the next key walks.
//
// A choice with the keyboard keeps the focus where it was before a walk: the next Tab goes on from there.

import { element } from "./element.js";

/** Choices that are made for the walk, also by the keyboard. */
const FOR_THE_WALK = ".gallery button, .presets button, #no-picture, #go-there, #restart";
/** Where a hand goes on to something near. */
const STAYS = ".cluster, .clip, dialog, details, label";

/** @param {() => boolean} live whether there is a walk */
export function returnFocus(live) {
  let byPointer = false;
  const by = (/** @type {boolean} */ pointer) => () => (byPointer = pointer);
  window.addEventListener("pointerdown", by(true), { capture: true });
  window.addEventListener("keydown", by(false), { capture: true });
  document.addEventListener("change", ({ target }) => {
    if (target instanceof HTMLSelectElement && byPointer && !target.closest(STAYS)) toStage();
  });
  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest("button") : null;
    if (!button || button.closest(STAYS)) return;
    if (byPointer || (live() && button.matches(FOR_THE_WALK))) toStage();
  });
}

const toStage = () => element("stage").focus({ preventScroll: true });
