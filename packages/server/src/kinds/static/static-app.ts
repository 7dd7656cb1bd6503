/** The app that an instance of a static pool runs. */

import { setFlagsFromString } from "node:v8";
import type { StaticSpec } from "@paceline/wire";
import type { App } from "../../shared/app.js";
import { handlersOf } from "./handlers.js";
import { type StaticOptions, settingsOf } from "./options.js";
import { checkedRoot } from "./root.js";

/**
 * @param isLane whether its responses go over a lane; Node serves HTTP/1.1 for less without a Request and a Response.
 * @throws ServerError `static-unusable`
 */
export function staticApp({ root, options }: StaticSpec, isLane: boolean): App {
  const isNode = process.versions.bun === undefined;
  // New objects are few here and most die at once. Without this Node takes 16 to 32 MB for them as soon as it has much to do.
  if (isNode) setFlagsFromString("--semi-space-growth-factor=1");
  const handlers = handlersOf(checkedRoot(root), settingsOf(options as StaticOptions));
  if (isNode && !isLane) return { style: "node", handler: handlers.node };
  return { style: "fetch", handler: (request) => handlers.fetch(request) };
}
