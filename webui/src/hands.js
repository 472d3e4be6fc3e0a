// What the hands want: as rates for a world that follows them, and as keys for one that does not.
//
// As keys, a rate between still and full is a key held for a part of the time. Time goes in slots as long as a chunk, since a
// server looks at what is held once a chunk. A movement of the mouse is degrees to turn: the key is held for as many slots as
// that takes, or the rate is as large as it must be, slot by slot.

/**
 * @typedef {{ forward: number, strafe: number, yaw: number, pitch: number }} Rates  Each −1…1; positive is forward, right,
 *   right and up.
 * @typedef {keyof Rates} Axis
 * @typedef {{ rate: number, owed: number, turns: number, sign: number, byRate: boolean, until: number }} State
 *   `owed`: what the rate still has to get, `turns`: what the mouse still has to get, both in slots. `sign`: what is held
 *   until the end of the slot.
 */

/** The keys of each axis: of its positive direction, and of its negative one. @type {Record<Axis, [string, string]>} */
const KEYS = { forward: ["w", "s"], strafe: ["d", "a"], yaw: ["l", "j"], pitch: ["i", "k"] };
/** @type {Axis[]} */
const AXES = ["forward", "strafe", "yaw", "pitch"];

/** From here on a rate counts as full: nobody holds a stick quite at its end. */
const FULL = 0.9;
/** The nearest whole number of slots: more than half a slot is held, less waits for more. */
const HALF = 0.5;
/** A mouse that was thrown turns on for a moment, not for seconds. */
const TURNS_MAX_MS = 1000;
/** Rates that only change are sent this often at most, and in steps of a hundredth: a thumb is never quite still. */
const RATES_EVERY_MS = 40;
const RATE_STEP = 0.01;
/** Video frames of a latent frame. */
const FRAMES_PER_LATENT = 4;
/** What LingBot's worlds turn by in a latent frame, where the world does not say. */
const DEGREES_PER_LATENT = 6;

export class Hands {
  #slotMs = 250;
  #degrees = { yaw: DEGREES_PER_LATENT, pitch: DEGREES_PER_LATENT };
  /** @type {string[]} */
  #known = [];
  /** @type {Map<string, Rates>} what each stick wants */
  #wants = new Map();
  /** @type {Record<Axis, State>} */
  #states = { forward: still(), strafe: still(), yaw: still(), pitch: still() };
  /** What the mouse still has to turn by as rates, in slots, and the rate until the end of the slot. Counted beside the keys'
   *  `turns`: clips and hints want the nearest keys of what rates steer. */
  #turns = { yaw: { owed: 0, rate: 0, until: -Infinity }, pitch: { owed: 0, rate: 0, until: -Infinity } };
  /** What was sent last. @type {Rates} */
  #sent = { forward: 0, strafe: 0, yaw: 0, pitch: 0 };
  #sentAt = -Infinity;
  /** Whether the world follows rates: then keys are not to be sent for the hands. */
  analog = false;

  /** @param {Pick<import("./world.js").Card, "fps" | "chunk" | "keys" | "degrees" | "rates">} card */
  offer({ fps, chunk, keys, degrees, rates }) {
    this.#slotMs = (1000 * FRAMES_PER_LATENT * chunk) / fps;
    const { yaw, pitch } = degrees ?? { yaw: DEGREES_PER_LATENT, pitch: DEGREES_PER_LATENT };
    this.#degrees = { yaw: yaw * chunk, pitch: pitch * chunk };
    this.#known = keys;
    this.analog = rates;
  }

  /** A viewer steers by what the player's session takes. @param {readonly string[]} features */
  within(features) {
    this.analog &&= features.includes("rates");
  }

  /** A new walk, or one that another led: its server knows of no rates. */
  begin() {
    this.#sent = { forward: 0, strafe: 0, yaw: 0, pitch: 0 };
    this.#sentAt = -Infinity;
  }

  /** What a stick wants from now on; null: nothing. @param {string} stick @param {Rates | null} rates */
  want(stick, rates) {
    if (rates) this.#wants.set(stick, rates);
    else this.#wants.delete(stick);
  }

  /** The mouse or a finger moved: turn by so much more. @param {{ yaw: number, pitch: number }} degrees */
  turn({ yaw, pitch }) {
    const most = TURNS_MAX_MS / this.#slotMs;
    for (const [axis, degrees] of /** @type {const} */ ([["yaw", yaw], ["pitch", pitch]])) {
      const state = this.#states[axis];
      const more = this.#degrees[axis] > 0 ? degrees / this.#degrees[axis] : 0;
      // The way back is not first the rest of the way there.
      if (state.turns * more < 0) state.turns = 0;
      state.turns = clamp(state.turns + more, Math.max(1, most));
      const turn = this.#turns[axis];
      if (turn.owed * more < 0) turn.owed = 0;
      turn.owed = clamp(turn.owed + more, Math.max(1, most));
    }
  }

  /** The hands let go. */
  rest() {
    this.#wants.clear();
    this.#states = { forward: still(), strafe: still(), yaw: still(), pitch: still() };
    for (const turn of Object.values(this.#turns)) Object.assign(turn, { owed: 0, rate: 0, until: -Infinity });
  }

  /**
   * The rates to send now; null: as before. To be called often. `hurry`: somebody waits for it, since an axis begins, rests or
   * turns round. What only changes has time until the next chunk.
   * @param {number} now @returns {{ rates: Rates, hurry: boolean } | null}
   */
  change(now) {
    if (!this.analog) return null;
    const rates = this.rates;
    for (const axis of /** @type {const} */ (["yaw", "pitch"])) rates[axis] = clamp(rates[axis] + this.#turning(this.#turns[axis], now), 1);
    for (const axis of AXES) {
      const rate = Math.abs(rates[axis]) >= FULL ? Math.sign(rates[axis]) : rates[axis];
      rates[axis] = Math.round(rate / RATE_STEP) * RATE_STEP || 0;
    }
    const sent = this.#sent;
    if (AXES.every((axis) => rates[axis] === sent[axis])) return null;
    const hurry = AXES.some((axis) => Math.sign(rates[axis]) !== Math.sign(sent[axis]));
    if (!hurry && now - this.#sentAt < RATES_EVERY_MS) return null;
    [this.#sent, this.#sentAt] = [rates, now];
    return { rates, hurry };
  }

  /**
   * How fast the mouse turns in this slot: as much as it still has to, and a whole slot's worth at most.
   * @param {{ owed: number, rate: number, until: number }} turn @param {number} now
   */
  #turning(turn, now) {
    if (now < turn.until) return turn.rate;
    const rate = clamp(turn.owed, 1);
    if (Math.abs(rate) < RATE_STEP) return (turn.rate = 0);
    Object.assign(turn, { owed: turn.owed - rate, rate, until: now + this.#slotMs });
    return rate;
  }

  /** The sum of what the sticks want. @returns {Rates} */
  get rates() {
    const sum = { forward: 0, strafe: 0, yaw: 0, pitch: 0 };
    for (const rates of this.#wants.values()) for (const axis of AXES) sum[axis] = clamp(sum[axis] + rates[axis], 1);
    return sum;
  }

  /** The keys to hold now. To be called often. @param {number} now @returns {string[]} */
  keys(now) {
    const rates = this.rates;
    return AXES.flatMap((axis) => {
      const sign = this.#hold(this.#states[axis], rates[axis], now);
      const key = KEYS[axis][sign > 0 ? 0 : 1];
      return sign !== 0 && this.#known.includes(key) ? [key] : [];
    });
  }

  /** @param {State} state @param {number} rate @param {number} now @returns {number} −1, 0 or 1 */
  #hold(state, rate, now) {
    if (Math.abs(rate) >= FULL) rate = Math.sign(rate);
    // A hand that begins to push is obeyed at once, one that lets go too, and one that turns round.
    if (rate * state.rate <= 0 && rate !== state.rate) {
      state.owed = Math.max(0, HALF - Math.abs(rate)) * Math.sign(rate);
      if (state.byRate || state.sign === 0) state.until = now;
    } else if (state.sign === 0 && Math.abs(rate) === 1) {
      state.until = now;
    }
    state.rate = rate;
    if (state.sign === 0 && rate === 0) state.until = now;
    if (Math.abs(state.turns) >= HALF && state.turns * state.sign < 0) state.until = now;
    if (now < state.until) return state.sign;

    state.owed += rate;
    const due = state.owed + state.turns;
    state.sign = Math.abs(due) < HALF ? 0 : Math.sign(due);
    const turned = state.sign * state.turns > 0 ? state.sign * Math.min(1, Math.abs(state.turns)) : 0;
    state.turns -= turned;
    state.owed = rate === 0 ? 0 : clamp(state.owed - (state.sign - turned), 1);
    state.byRate = turned === 0;
    state.until = now + this.#slotMs;
    return state.sign;
  }
}

/** @returns {State} */
const still = () => ({ rate: 0, owed: 0, turns: 0, sign: 0, byRate: false, until: -Infinity });

/** @param {number} value @param {number} most */
const clamp = (value, most) => Math.min(Math.max(value, -most), most);
