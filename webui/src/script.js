// Scripts of keys, as on the command line and in a request for a film: `w*12,wl*6,-` is twelve steps forward, six of them with a
// turn, one of nothing.

/** What a server takes in an `init`. */
const STEPS_MAX = 4096;

/**
 * The keys of each step.
 * @param {string} script @returns {string[][]}
 * @throws a sentence
 */
export function steps(script) {
  if (script.trim() === "") return [];
  const all = script.split(",").flatMap((part) => {
    const [, keys, times = "1"] = /^\s*(-|[a-z]+)(?:\*(\d+))?\s*$/.exec(part) ?? [];
    if (keys === undefined) throw new Error(`“${part}” is not a step like w*12`);
    // Not more than can be used: a number may be anything.
    const count = Math.min(Number(times), STEPS_MAX + 1);
    return Array.from({ length: count }, () => (keys === "-" ? [] : [...keys]));
  });
  if (all.length > STEPS_MAX) throw new Error(`at most ${STEPS_MAX} steps`);
  return all;
}

/** Video frames of a step; the very first picture of a video is a step of its own. */
const FRAMES_PER_STEP = 4;

/** What is held in the picture that is shown, by how many were shown before it. @param {string[][]} steps @param {number} shown */
export const heldAt = (steps, shown) => steps[Math.ceil(shown / FRAMES_PER_STEP)] ?? [];
