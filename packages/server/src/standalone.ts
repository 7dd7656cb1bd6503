/** Runs one standalone server, on a port or a socket, until a signal ends it. */
import { isOutOfDescriptors, OUT_OF_DESCRIPTORS } from "@paceline/wire";
import type { AccessLog, AccessLogOptions } from "./api/contrib/access-log.js";
import { HOOKS_ALONE } from "./app/load.js";
import { loadWorkload, type Workload } from "./app/workload.js";
import { describeAddress, type ServeAddress } from "./http1/running-server.js";
import { Drain } from "./process/drain.js";
import { exitOnUncaught } from "./process/fatal.js";
import { serve } from "./process/serve.js";
import { announceDrain, backgroundWork, logLostWork } from "./shared/bridge.js";
import { ServerError } from "./shared/errors.js";
import { DEFAULT_LIMITS, type ServerLimits } from "./shared/limits.js";

export interface StandaloneOptions {
  /** Its paths are absolute. */
  workload: Workload;
  address: ServeAddress;
  limits: Partial<ServerLimits>;
  drainTimeoutMs: number;
  /** Default: none. */
  accessLog?: AccessLogOptions | undefined;
}

const LOOK_FOR_DESCRIPTORS_EVERY_MS = 3_000;

/** How long the access log's last lines may delay the exit, in milliseconds. */
const LAST_LINES_TIMEOUT_MS = 500;

/**
 * Serves until SIGTERM or SIGINT; then drains and exits with 0. A second signal exits at once, with status 1.
 * @throws ServerError if the app cannot be loaded, the address cannot be listened on, or the access log cannot be opened
 */
export async function runStandalone(options: StandaloneOptions): Promise<void> {
  exitOnUncaught(async () => {});
  // Created before the app, whose responses it must observe.
  const requestLog = options.accessLog === undefined ? undefined : await openAccessLog(options.accessLog);
  const work = backgroundWork();
  work.limits = { ...DEFAULT_LIMITS, ...options.limits };
  const app = await loadWorkload(options.workload, false, false, HOOKS_ALONE);
  // Without a deadline: the user who waits for it can stop it.
  if (app.start !== undefined) await (await import("./app/lifecycle.js")).startApp(app);
  const server = await serve(app, { ...options, requestLog });
  work.requestActivity = server.activity;
  if (process.versions.bun !== undefined) watchDescriptors();
  // However this process ends, an incomplete response must not look whole.
  process.once("exit", () => server.closeNow());
  let drain: Drain | undefined;
  const stop = () => {
    if (drain !== undefined) {
      logLostWork();
      process.exit(1);
    }
    const announced = announceDrain(app);
    const started = new Drain(server, {
      deadlineMs: options.drainTimeoutMs,
      untilReleased: false,
      onEnd: async (cut) => {
        if (cut > 0) console.error(`stopped at the deadline with ${cut} requests in flight`);
        await Promise.race([announced, new Promise((resolve) => setTimeout(resolve, started.remainingMs))]);
        if (app.stop !== undefined) await (await import("./app/lifecycle.js")).stopApp(app, started.remainingMs);
        logLostWork();
        server.closeNow();
        if (requestLog === undefined) process.exit(0);
        void requestLog.flush(LAST_LINES_TIMEOUT_MS).finally(() => process.exit(0));
      },
    });
    drain = started;
  };
  // The process was started with nohup. Node would lose the ignored SIGHUP.
  if (process.env.PACELINE_NOHUP === "1") process.on("SIGHUP", () => {});
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  console.log(`listening on ${describeAddress(server.address)}`);
}

/** Bun cannot refuse connections. This reports at least once that there are too many. */
function watchDescriptors(): void {
  const timer = setInterval(() => {
    if (!isOutOfDescriptors()) return;
    console.error(OUT_OF_DESCRIPTORS);
    clearInterval(timer);
  }, LOOK_FOR_DESCRIPTORS_EVERY_MS);
  timer.unref();
}

async function openAccessLog(options: AccessLogOptions): Promise<AccessLog> {
  const { AccessLog } = await import("./api/contrib/access-log.js");
  try {
    return new AccessLog(options);
  } catch (cause) {
    throw new ServerError("cannot-log", `cannot write to ${options.file}: ${(cause as Error).message}`, { cause });
  }
}
