/** The app that an instance of a static pool runs. */
import type { StaticSpec } from "@paceline/link";
import type { App } from "../app.js";
import { handlersOf } from "./handlers.js";
import { type StaticOptions, settingsOf } from "./options.js";
import { checkedRoot } from "./root.js";

/**
 * @param isLane whether its answers go over a lane; Node serves HTTP/1.1 for less without a Request and a Response.
 * @throws ServerError `static-unusable`
 */
export function staticApp({ root, options }: StaticSpec, isLane: boolean): App {
  const handlers = handlersOf(checkedRoot(root), settingsOf(options as StaticOptions));
  if (process.versions.bun === undefined && !isLane) return { style: "node", handler: handlers.node };
  return { style: "fetch", handler: (request) => handlers.fetch(request) };
}
