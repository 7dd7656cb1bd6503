/** The limits of one server, with defaults that are safe on an open network. */
import { INSTANCE_LIMITS, type InstanceLimits } from "@paceline/wire/limits";

/** What a server accepts; `serve` takes any part of it and fills in the rest. */
export interface ServerLimits extends InstanceLimits {
  /**
   * Milliseconds a connection may stay idle between two requests; 0 is for ever. Default 75000. Behind a balancer it is
   * 0, since only the balancer may close its connections. On Bun rounded up to seconds, 255 s at most, and there it also
   * bounds a pause in the body of a response.
   */
  keepAliveTimeoutMs: number;
  /**
   * Milliseconds a client may take nothing of what waits for it; 0 is for ever. Default 60000. Whoever takes 1,000 bytes a
   * second is never cut. Behind a balancer its own counts. On Bun `keepAliveTimeoutMs` bounds
   * this for a fetch app, and nothing for a `(req, res)` handler.
   */
  sendTimeoutMs: number;
}

export const DEFAULT_LIMITS: Readonly<ServerLimits> = {
  ...INSTANCE_LIMITS,
  keepAliveTimeoutMs: 75_000,
  sendTimeoutMs: 60_000,
};
