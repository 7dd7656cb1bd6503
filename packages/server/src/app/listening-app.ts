/** Turns a listening server of a module into the app, or reports why it cannot. */
import type { Cluster } from "node:cluster";
import type { Server } from "node:http";
import type { App } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import type { ListenWatch, LoadHooks } from "./adopted-server.js";
import { appOfServer } from "./detect-app.js";

/** The interval of the check for worker processes of the app, in milliseconds. */
const LOOK_EVERY_MS = 250;

/**
 * Returns the app of the first server that listens. A module without an export may listen later, for example after it has connected to its
 * database. Waits as long as the app has pending work.
 * @returns undefined if the app will never listen
 * @throws ServerError `app-unusable` if it forks workers or listens with node:http2.
 */
export async function listeningApp(
  watch: ListenWatch,
  exported: unknown,
  path: string,
  hooks: LoadHooks,
): Promise<App | undefined> {
  // The caller has another error for an exported function whose style is unclear.
  if (watch.current === undefined && typeof exported === "function") return undefined;
  let over: (() => void) | undefined;
  let look: NodeJS.Timeout | undefined;
  const nothingLeft = new Promise<undefined>((resolve) => {
    over = () => resolve(undefined);
    process.once("beforeExit", over);
  });
  const forked = new Promise<never>((_, reject) => {
    const check = () => {
      // Despite its type, it returns the module's default export.
      const { workers = {} } = process.getBuiltinModule("node:cluster") as unknown as Cluster;
      if (Object.keys(workers).length === 0) return;
      // Their final errors would hide the real problem.
      for (const worker of Object.values(workers)) worker?.process.kill("SIGKILL");
      reject(
        new Error("forks workers with node:cluster, as Paceline does: run the worker's part, and set `instances`"),
      );
    };
    check();
    look = setInterval(check, LOOK_EVERY_MS).unref();
  });
  hooks.keepAlive(false);
  hooks.onWait?.("its module exports no app, and has not called listen()");
  try {
    const adopted = await Promise.race([watch.first(), nothingLeft, forked]);
    if (adopted === undefined) return undefined;
    watch.isServed = true;
    return watch.bunApp ?? appOfServer(adopted.server as Server);
  } catch (error) {
    throw new ServerError("app-unusable", `${path} ${(error as Error).message}`);
  } finally {
    hooks.keepAlive(true);
    clearInterval(look);
    if (over !== undefined) process.off("beforeExit", over);
  }
}
