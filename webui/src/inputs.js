// What is held, drawn on a picture: over the stage, and in a recording.

/** @typedef {{ held: readonly string[], rates: import("./hands.js").Rates, prompt: string }} Inputs */

/** Place of each key in its cross, in keys. @type {[string, string, number, number][]} */
const WALK = [["w", "W", 1, 0], ["a", "A", 0, 1], ["s", "S", 1, 1], ["d", "D", 2, 1]];
/** @type {[string, string, number, number][]} */
const LOOK = [["i", "↑", 1, 0], ["j", "←", 0, 1], ["k", "↓", 1, 1], ["l", "→", 2, 1]];

const LAMP = "#f0b35a";
const FONT = "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";

/**
 * @param {CanvasRenderingContext2D} context over the whole of it @param {Inputs} inputs
 * @param {{ labels?: (action: string) => string | undefined, prompt: boolean }} what `labels`: what is written on the keys
 */
export function drawInputs(context, { held, rates, prompt }, { labels, prompt: withPrompt }) {
  const { width, height } = context.canvas;
  const key = Math.round(Math.min(height / 13, width / 18));
  const gap = Math.max(2, Math.round(key / 8));
  const [cross, top] = [3 * key + 2 * gap, height - gap * 3 - 2 * key - gap];
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const [keys, left, x, y] of /** @type {const} */ ([
    [WALK, 3 * gap, rates.strafe, -rates.forward], [LOOK, width - 3 * gap - cross, rates.yaw, -rates.pitch],
  ])) {
    for (const [action, label, column, row] of keys) {
      const [keyLeft, keyTop] = [left + column * (key + gap), top + row * (key + gap)];
      const isHeld = held.includes(action);
      context.fillStyle = isHeld ? LAMP : "rgb(10 13 18 / .45)";
      context.beginPath();
      context.roundRect(keyLeft, keyTop, key, key, gap);
      context.fill();
      context.fillStyle = isHeld ? "#1d1405" : "rgb(232 236 241 / .8)";
      context.font = `600 ${Math.round(key * 0.5)}px ${FONT}`;
      context.fillText(labels?.(action) ?? label, keyLeft + key / 2, keyTop + key / 2, key);
    }
    if (x === 0 && y === 0) continue;
    // Where a stick is: a ring above the cross.
    const [middle, radius] = [top - key * 0.9, key * 0.7];
    context.strokeStyle = "rgb(232 236 241 / .8)";
    context.lineWidth = Math.max(1, gap / 2);
    context.beginPath();
    context.arc(left + cross / 2, middle, radius, 0, 2 * Math.PI);
    context.stroke();
    context.fillStyle = LAMP;
    context.beginPath();
    context.arc(left + cross / 2 + x * radius, middle + y * radius, radius / 3, 0, 2 * Math.PI);
    context.fill();
  }
  if (withPrompt && prompt !== "") caption(context, prompt, 3 * gap + cross, key);
}

/**
 * The prompt between the two crosses, on at most two lines.
 * @param {CanvasRenderingContext2D} context @param {string} prompt @param {number} beside what a cross takes @param {number} key
 */
function caption(context, prompt, beside, key) {
  const { width, height } = context.canvas;
  const room = width - 2 * beside - key;
  const size = Math.max(9, Math.round(key * 0.42));
  context.font = `${size}px ${FONT}`;
  const shown = lines(prompt, (text) => context.measureText(text).width <= room, 2);
  shown.forEach((line, i) => {
    const y = height - key * 0.5 - (shown.length - 1 - i) * size * 1.3;
    context.strokeStyle = "rgb(10 13 18 / .8)";
    context.lineWidth = size / 4;
    context.lineJoin = "round";
    context.strokeText(line, width / 2, y);
    context.fillStyle = "#ffffff";
    context.fillText(line, width / 2, y);
  });
}

/**
 * A text on so many lines; what does not fit is left out and marked.
 * @param {string} text @param {(line: string) => boolean} fits @param {number} most
 */
export function lines(text, fits, most) {
  // Chinese has no spaces: there a line may end after any character.
  const parts = text.trim().split(/(?<=\s)|(?<=[\u3000-\u9fff\uff00-\uffef])/);
  /** @type {string[]} */
  const all = [];
  let line = "";
  for (const part of parts) {
    if (line === "" || fits((line + part).trimEnd())) {
      line += part;
      continue;
    }
    all.push(line.trimEnd());
    line = part;
    if (all.length === most) break;
  }
  if (all.length < most) return line === "" ? all : [...all, line.trimEnd()];
  let last = all[most - 1];
  while (last !== "" && !fits(`${last}…`)) last = last.slice(0, -1);
  return [...all.slice(0, most - 1), `${last}…`];
}
