// Looking around with the mouse and with a finger on the picture.
//
// A click locks the mouse, and its movement turns the view until Escape. Without the lock, dragging does. A finger takes the
// picture along, so it turns the other way.

/**
 * @typedef {{ turn: (degrees: { yaw: number, pitch: number }) => void, walking: () => boolean,
 *   drag: (x: number, y: number) => void }} Actions  `drag`: the picture was dragged before a walk, in parts of the stage.
 */

/** A locked mouse turns by this much a pixel: a hand's breadth on a common mouse (about 800 pixels) is a quarter turn. */
const DEGREES_PER_PIXEL = 0.11;
/** Dragging across the whole stage turns by this much: about what the picture shows from side to side. */
const DEGREES_PER_STAGE = 70;
/** A pointer that moves less than this clicks. */
const CLICK_PX = 4;

export class Look {
  #stage;
  #settings;
  #actions;
  /** The pointer that drags. @type {{ id: number, x: number, y: number, moved: boolean } | null} */
  #drag = null;

  /**
   * @param {HTMLElement} stage @param {() => { sensitivity: number, invert: boolean }} settings @param {Actions} actions
   */
  constructor(stage, settings, actions) {
    this.#stage = stage;
    this.#settings = settings;
    this.#actions = actions;
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) stage.addEventListener(end, (event) => this.#up(event));
  }

  get locked() {
    return document.pointerLockElement === this.#stage;
  }

  /** The walk is over: the mouse is the visitor's again. */
  free() {
    if (this.locked) document.exitPointerLock();
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0 || this.locked || (event.target instanceof Element && event.target.closest("button, a, dialog"))) return;
    this.#drag = { id: event.pointerId, x: event.clientX, y: event.clientY, moved: false };
    this.#stage.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (this.locked) return this.#turn(event.movementX * DEGREES_PER_PIXEL, event.movementY * DEGREES_PER_PIXEL);
    if (this.#drag?.id !== event.pointerId) return;
    const [x, y] = [event.clientX - this.#drag.x, event.clientY - this.#drag.y];
    if (!this.#drag.moved && Math.hypot(x, y) < CLICK_PX) return;
    this.#drag = { id: event.pointerId, x: event.clientX, y: event.clientY, moved: true };
    const { clientWidth, clientHeight } = this.#stage;
    if (!this.#actions.walking()) return this.#actions.drag(x / clientWidth, y / clientHeight);
    const way = event.pointerType === "mouse" ? 1 : -1;
    this.#turn((way * x * DEGREES_PER_STAGE) / clientWidth, (way * y * DEGREES_PER_STAGE) / clientWidth);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (this.#drag?.id !== event.pointerId) return;
    const { moved } = this.#drag;
    this.#drag = null;
    if (moved || event.type !== "pointerup" || event.pointerType !== "mouse" || !this.#actions.walking()) return;
    // A browser may refuse, as it does for a second after Escape: then dragging is left.
    Promise.resolve(this.#stage.requestPointerLock()).catch(() => {});
  }

  /** @param {number} right @param {number} down in degrees */
  #turn(right, down) {
    const { sensitivity, invert } = this.#settings();
    this.#actions.turn({ yaw: sensitivity * right, pitch: (invert ? 1 : -1) * sensitivity * down });
  }
}
