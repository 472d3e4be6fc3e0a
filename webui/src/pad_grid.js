// Which keys of a cross of keys a finger is on. It may slide from one to the next, and rest between two.

/**
 * @typedef {{ action: string, left: number, top: number, right: number, bottom: number }} Key  In pixels of the page.
 */

/** Two keys are held where the finger is nearly as close to the second as to the first. */
const BETWEEN_PX = 10;

/**
 * The actions under a finger: the nearest key, however far the finger slid, and a second one at a corner.
 * @param {Key[]} keys @param {number} x @param {number} y
 * @returns {string[]}
 */
export function under(keys, x, y) {
  const near = keys
    .map((key) => ({ key, away: Math.hypot(outside(x, key.left, key.right), outside(y, key.top, key.bottom)) }))
    .sort((a, b) => a.away - b.away);
  const [first, second] = near;
  if (!first) return [];
  // In the gap between two keys that face each other, both would mean neither.
  const corner = second && first.away > 0 && second.away - first.away < BETWEEN_PX && !facing(first.key, second.key);
  return corner ? [first.key.action, second.key.action] : [first.key.action];
}

/** How far a value is outside a range. @param {number} value @param {number} low @param {number} high */
const outside = (value, low, high) => Math.max(low - value, 0, value - high);

/** One stands right above the other, or beside it. @param {Key} a @param {Key} b */
const facing = (a, b) => a.left === b.left || a.top === b.top;
