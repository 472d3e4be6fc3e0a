// A stick, of a gamepad or under a thumb: how far it is pushed, past the middle where it never rests quite still.

/**
 * The push without its dead zone, −1…1 on each axis, never more than 1 in all.
 * @param {number} x @param {number} y as far as the stick is pushed, 1 at its end @param {number} deadZone 0…1
 * @returns {[number, number]}
 */
export function pushed(x, y, deadZone) {
  const length = Math.hypot(x, y);
  if (!(length > deadZone)) return [0, 0];
  // From nothing at the edge of the dead zone to all at the end, so that no jump is felt.
  const scale = Math.min(1, (length - deadZone) / (1 - deadZone)) / length;
  return [x * scale, y * scale];
}
