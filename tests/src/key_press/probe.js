// Put into the page before its own scripts: writes down keys, messages and pictures with their times, all by the page's clock.
// It looks from outside: at the browser's key events, at what passes the socket, and at the canvas.

(() => {
  /** The strip of the test card, a pixel a cell: the lowest 3 of 24 rows. */
  const [COLUMNS, ROWS, STRIP_ROWS] = [32, 24, 3];
  const log = { keys: [], sent: [], came: [], shown: [] };
  window.keyProbe = { take: () => Object.fromEntries(Object.entries(log).map(([name, list]) => [name, list.splice(0)])) };

  // An event's own time is when the browser got the key, before any script ran.
  window.addEventListener("keydown", ({ code, repeat, timeStamp }) => repeat || log.keys.push({ at: timeStamp, code }), true);

  const modules = document.baseURI.startsWith("http")
    ? Promise.all([import(new URL("src/msgpack.js", document.baseURI)), import(new URL("src/protocol.js", document.baseURI))])
    : new Promise(() => {});
  modules.then(([{ decode }, { Incoming }]) => {
    const Plain = window.WebSocket;
    window.WebSocket = class extends Plain {
      constructor(...given) {
        super(...given);
        const incoming = new Incoming();
        this.addEventListener("message", ({ data }) => {
          const at = performance.now();
          const message = incoming.receive(new Uint8Array(data));
          if (message?.kind === "pictures") log.came.push({ at, chunk: message.chunk, eventId: message.eventId, frames: message.pieces.length });
          if (message?.kind === "stats") log.came.push({ at, chunk: message.chunk, drawMs: message.ms.generate });
        });
      }
      send(bytes) {
        const { kind, event_id: eventId, payload } = decode(bytes);
        const held = payload?.transitions?.at(-1).actions;
        if (kind === "camera_actions") log.sent.push({ at: performance.now(), eventId, held: held.join("") });
        super.send(bytes);
      }
    };
    keyProbe.ready = true;
  });

  const sample = new OffscreenCanvas(COLUMNS, ROWS).getContext("2d", { willReadFrequently: true });
  sample.imageSmoothingEnabled = false;
  let [frames, strip] = [0, ""];
  // The page draws in an animation frame too. A frame later at most, what it drew is seen here.
  requestAnimationFrame(function look() {
    requestAnimationFrame(look);
    const screen = document.getElementById("screen");
    const shown = window.causeway?.framesShown ?? 0;
    if (!screen || shown === 0) return void (frames = 0);
    sample.drawImage(screen, 0, 0, COLUMNS, ROWS);
    const { data } = sample.getImageData(0, ROWS - STRIP_ROWS, COLUMNS, STRIP_ROWS);
    let bits = "";
    for (let i = 0; i < data.length; i += 4) bits += data[i] + data[i + 1] + data[i + 2] > 3 * 128 ? 1 : 0;
    if (shown === frames && bits === strip) return;
    [frames, strip] = [shown, bits];
    log.shown.push({ at: performance.now(), eventId: causeway.eventIdShown, frames, strip });
  });
})();
