// One WebSocket: objects go out, whole messages come in. It is used once; a new start takes a new one.

import { encode } from "./msgpack.js";
import { Incoming } from "./protocol.js";

/** Our own close code (4000–4999 are free): a message could not be read, so nothing after it can be. */
const UNREADABLE = 4002;

export class Connection {
  #socket;
  #incoming = new Incoming();

  /**
   * @param {string} url
   * @param {{ opened: () => void, received: (message: NonNullable<ReturnType<Incoming["receive"]>>) => void,
   *   closed: (code: number, reason: string) => void }} listener  `closed` is called once, and not after `close()`.
   */
  constructor(url, listener) {
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = listener.opened;
    this.#socket.onclose = ({ code, reason }) => listener.closed(code, reason);
    this.#socket.onmessage = ({ data }) => {
      let message;
      try {
        if (typeof data === "string") throw new Error("a text message came, where all are binary");
        message = this.#incoming.receive(new Uint8Array(data));
      } catch (error) {
        this.close(UNREADABLE);
        listener.closed(UNREADABLE, /** @type {Error} */ (error).message);
        return;
      }
      if (message) listener.received(message);
    };
  }

  get open() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Bytes handed to `send` that have not left yet. */
  get bufferedBytes() {
    return this.#socket.bufferedAmount;
  }

  /** @param {object} message */
  send(message) {
    this.#socket.send(encode(message));
  }

  /** End it. Nothing is heard from it after this. */
  close(code = 1000) {
    this.#socket.onopen = this.#socket.onclose = this.#socket.onmessage = null;
    this.#socket.close(code);
  }
}
