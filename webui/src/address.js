// Where the server's paths are, as seen from the page: a proxy may serve both below a path of its own.

/**
 * @param {string} path a path of the server, from its `/` on
 * @param {string} page the page's own address
 * @returns {string}
 */
export const below = (path, page) => new URL(`.${path}`, page).href;

/**
 * The same for a WebSocket: encrypted if the page is.
 * @param {string} path @param {string} page
 */
export const socketBelow = (path, page) => below(path, page).replace(/^http/, "ws");
