/** Takes host and path out of a parsed head for the router, and only where there is more than one way to go. */
import type { RequestHead } from "../http1/request-head.js";
import type { Router } from "../router.js";

export function routeOf<Target>(router: Router<Target>, head: RequestHead): Target | undefined {
  const { only } = router;
  if (only !== undefined) return only;
  const text = Buffer.from(head.bytes.buffer, head.bytes.byteOffset, head.bytes.byteLength);
  const target = text.toString("latin1", head.targetStart, head.targetEnd);
  const query = target.indexOf("?");
  const path = query < 0 ? target : target.slice(0, query);
  return router.match(text.toString("latin1", head.hostStart, head.hostEnd), path === "" ? "/" : path);
}
