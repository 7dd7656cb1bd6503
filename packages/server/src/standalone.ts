/** Runs one server alone, on a port or a socket, until a signal ends it. */
import { Drain } from "./drain.js";
import { exitOnUncaught } from "./fatal.js";
import type { ServerLimits } from "./limits.js";
import { loadRuns, type Runs } from "./runs.js";
import { describeAddress, type ServeAddress } from "./runtime/running-server.js";
import { serve } from "./serve.js";

export interface StandaloneOptions {
  /** With absolute paths. */
  runs: Runs;
  address: ServeAddress;
  limits: Partial<ServerLimits>;
  drainTimeoutMs: number;
}

/**
 * Serves until SIGTERM or SIGINT; then drains and exits 0. A second signal exits at once, with status 1.
 *
 * @throws ServerError when the app cannot be loaded or the address not be listened on.
 */
export async function runStandalone(options: StandaloneOptions): Promise<void> {
  exitOnUncaught(async () => {});
  const server = await serve(await loadRuns(options.runs, false), options);
  let drain: Drain | undefined;
  const stop = () => {
    if (drain !== undefined) process.exit(1);
    drain = new Drain(server, {
      deadlineMs: options.drainTimeoutMs,
      untilReleased: false,
      onEnd: (cut) => {
        if (cut > 0) console.error(`stopped at the deadline with ${cut} requests in flight`);
        server.closeNow();
        process.exit(0);
      },
    });
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  console.log(`listening on ${describeAddress(server.address)}`);
}
