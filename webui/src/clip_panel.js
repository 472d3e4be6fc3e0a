// The Film panel: what a film is asked with, how far it is, and the film itself.

/**
 * @typedef {{ make: (asked: Asked) => void, cancel: () => void, walked: () => { script: string, seconds: number } | null }} Actions
 * @typedef {{ prompt: string, seconds: number, script: string }} Asked  An empty prompt: the one of the walk.
 */

/** A film is longer than one picture, and a server draws this long a one at most by default. */
const SECONDS = { min: 0.5, max: 30 };

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(`clip-${id}`);

export class ClipPanel {
  #busy = false;

  /** @param {Actions} actions */
  constructor(actions) {
    element("form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.#busy) return actions.cancel();
      const seconds = Number(element("seconds").value);
      if (!(seconds >= SECONDS.min && seconds <= SECONDS.max)) {
        return this.say(`Seconds: from ${SECONDS.min} to ${SECONDS.max}.`, true);
      }
      actions.make({ prompt: element("prompt").value.trim(), seconds, script: element("script").value.trim() });
    });
    element("walked").addEventListener("click", () => {
      const walked = actions.walked();
      if (!walked) return this.say("You have not walked yet: press Start, and hold W for a while.", true);
      element("script").value = walked.script;
      element("seconds").value = String(walked.seconds);
      this.say("");
    });
  }

  /** Whether this world can be steered. @param {boolean} steerable */
  set steerable(steerable) {
    element("steering").hidden = !steerable;
  }

  /** A film is being made, and so far done in percent; null: none is. @param {number | null} percent */
  progress(percent) {
    this.#busy = percent !== null;
    element("make").textContent = this.#busy ? "Cancel" : "Make the film";
    element("progress").hidden = !this.#busy;
    element("progress").value = percent ?? 0;
  }

  /** @param {string} sentence @param {boolean} [wrong] */
  say(sentence, wrong = false) {
    element("note").textContent = sentence;
    element("note").classList.toggle("wrong", wrong);
  }

  /** A finished film, to see and to keep; null: take the last one away. @param {{ file: Blob, name: string } | null} film */
  show(film) {
    const [video, save] = [element("video"), element("save")];
    if (video.src) URL.revokeObjectURL(video.src);
    element("result").hidden = film === null;
    if (!film) return video.removeAttribute("src");
    video.src = save.href = URL.createObjectURL(film.file);
    save.download = film.name;
  }
}
