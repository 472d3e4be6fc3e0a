// Errors as sentences for a visitor.

/** @param {unknown} error */
export function sentence(error) {
  const said = error instanceof Error ? error.message : String(error);
  return `${said.charAt(0).toUpperCase()}${said.slice(1).replace(/\.$/, "")}.`;
}
