/** The limits of one server; the defaults are safe on an open network. */
import { INSTANCE_LIMITS, type InstanceLimits } from "@paceline/wire/limits";

/** The limits of a server. `serve` accepts any of them and uses the defaults for the others. */
export interface ServerLimits extends InstanceLimits {
  /**
   * The maximum idle time between two requests, in milliseconds; 0: no limit. Default: 75000. Behind a balancer it is 0, because only the
   * balancer closes connections. On Bun it is rounded up to seconds, at most 255 s, and also limits pauses in a response body.
   */
  keepAliveTimeoutMs: number;
  /**
   * The maximum time for which a client may take nothing of its response, in milliseconds; 0: no limit. Default: 60000. A client that reads
   * 1,000 bytes a second is never disconnected. Behind a balancer, the balancer's limit applies. On Bun, `keepAliveTimeoutMs` replaces it
   * for fetch apps, and it does not apply to `(req, res)` handlers.
   */
  sendTimeoutMs: number;
}

export const DEFAULT_LIMITS: Readonly<ServerLimits> = {
  ...INSTANCE_LIMITS,
  keepAliveTimeoutMs: 75_000,
  sendTimeoutMs: 60_000,
};
