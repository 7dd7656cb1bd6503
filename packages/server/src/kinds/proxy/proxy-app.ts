/** The app of a proxy pool's instance. */
import type { ProxySpec } from "@paceline/wire";
import type { App } from "../../shared/app.js";
import { ServerError } from "../../shared/errors.js";
import { Exchange } from "./exchange.js";
import { type ProxyOptions, settingsOf } from "./settings.js";
import { Tunnel } from "./tunnel.js";
import { Upstream } from "./upstream.js";

/**
 * @param isBehindBalancer whether the balancer's fields contain the client's address
 * @throws ServerError `proxy-unusable`
 */
export async function proxyApp({ target, options }: ProxySpec, isBehindBalancer: boolean): Promise<App> {
  if (process.versions.bun !== undefined)
    throw new ServerError("proxy-unusable", "a proxy only runs on Node: add --runtime node");
  const upstream = await Upstream.open(settingsOf(target, options as ProxyOptions), isBehindBalancer);
  return {
    style: "node",
    handler: (request, response) => new Exchange(upstream, request, response).start(),
    upgrade: () => (request, socket, head) => new Tunnel(upstream, request, socket).start(head),
    stop: () => upstream.close(),
  };
}
