// Gamepads: the left stick walks, the right one looks; the cross of keys does what the left stick does.
//
// The numbers of axes and buttons are those of the standard gamepad (W3C Gamepad, "Remapping"). A pad that a browser cannot map
// to it has its sticks there too, most often; its buttons mean nothing.

import { pushed } from "./stick.js";

/**
 * @typedef {import("./hands.js").Rates} Rates
 * @typedef {"start" | "pause" | "hud" | "help" | "snapshot"} Command
 * @typedef {Pick<Gamepad, "axes" | "mapping"> & { buttons: readonly Pick<GamepadButton, "pressed">[] }} Pad
 */

const UP = 12, DOWN = 13, LEFT = 14, RIGHT = 15;
/** The lower of the four round buttons, the left one, the upper one, and the two in the middle. @type {Record<number, Command>} */
const COMMANDS = { 0: "start", 2: "snapshot", 3: "hud", 8: "help", 9: "pause" };

/**
 * What the sticks of a pad want.
 * @param {Pad} pad @param {number} deadZone 0…1 @returns {Rates}
 */
export function padRates(pad, deadZone) {
  const [strafe, back] = pushed(pad.axes[0] ?? 0, pad.axes[1] ?? 0, deadZone);
  const [yaw, down] = pushed(pad.axes[2] ?? 0, pad.axes[3] ?? 0, deadZone);
  const cross = (/** @type {number} */ plus, /** @type {number} */ minus) =>
    pad.mapping === "standard" ? Number(pad.buttons[plus]?.pressed ?? false) - Number(pad.buttons[minus]?.pressed ?? false) : 0;
  return { forward: cross(UP, DOWN) || 0 - back, strafe: cross(RIGHT, LEFT) || strafe, yaw, pitch: 0 - down };
}

export class Gamepads {
  #all;
  #actions;
  /** @type {Map<number, boolean[]>} which buttons of a pad were down before */
  #before = new Map();

  /**
   * @param {() => readonly (Gamepad | null)[]} all the browser's pads now
   * @param {{ want: (stick: string, rates: Rates | null) => void, command: (command: Command) => void }} actions
   */
  constructor(all, actions) {
    this.#all = all;
    this.#actions = actions;
  }

  /** Looks at the pads. To be called often, since no event tells of them. @param {number} deadZone @returns {number} how many there are */
  poll(deadZone) {
    const pads = this.#all().filter((pad) => pad !== null && pad.connected);
    for (const index of this.#before.keys()) {
      if (pads.some((pad) => pad?.index === index)) continue;
      this.#before.delete(index);
      this.#actions.want(`gamepad ${index}`, null);
    }
    for (const pad of pads) {
      if (!pad) continue;
      this.#actions.want(`gamepad ${pad.index}`, padRates(pad, deadZone));
      const down = pad.buttons.map(({ pressed }) => pressed);
      // A button that was down when the pad came is not a wish.
      const before = this.#before.get(pad.index) ?? down;
      this.#before.set(pad.index, down);
      if (pad.mapping !== "standard") continue;
      for (const [button, command] of Object.entries(COMMANDS)) {
        if (down[Number(button)] && !before[Number(button)]) this.#actions.command(command);
      }
    }
    return pads.length;
  }
}
