/** Lets a helper know the text or bytes of an answer without reading them, also in a server on Bun that stands alone. */

import { answersOnBun } from "../../lane/responses-bun.js";
import { KEPT_BODY } from "../kept-body.js";

/**
 * Called when a helper is set up. An instance has done the same for its lane. Bun's own Response does not tell whether it
 * was made with a text or a stream, and the field Content-Type of a text is missing from its headers.
 */
export function rememberBodies(): void {
  if (process.versions.bun !== undefined && !(KEPT_BODY in Response.prototype)) answersOnBun();
}
