/** Makes an app of the server that a module listens with, and says what keeps it from doing so. */
import type { Cluster } from "node:cluster";
import type { Server } from "node:http";
import type { App } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import type { ListenWatch, LoadHooks } from "./adopted-server.js";
import { appOfServer } from "./detect-app.js";

/** How often it looks whether the app has started workers of its own. */
const LOOK_EVERY_MS = 250;

/**
 * Returns the app of the first server that listens. A module without an export may do so later, when its database is
 * there: then it is waited for, as long as anything of the app can still happen.
 *
 * @returns undefined when the app will never listen.
 * @throws ServerError `app-unusable` when it forks workers, or listens with node:http2.
 */
export async function listeningApp(
  watch: ListenWatch,
  exported: unknown,
  path: string,
  hooks: LoadHooks,
): Promise<App | undefined> {
  // A function is an app that cannot be told apart, which is an error of its own.
  if (watch.current === undefined && typeof exported === "function") return undefined;
  let over: (() => void) | undefined;
  let look: NodeJS.Timeout | undefined;
  const nothingLeft = new Promise<undefined>((resolve) => {
    over = () => resolve(undefined);
    process.once("beforeExit", over);
  });
  const forked = new Promise<never>((_, reject) => {
    const check = () => {
      // What is returned is the module's default export, other than its type says.
      const { workers = {} } = process.getBuiltinModule("node:cluster") as unknown as Cluster;
      if (Object.keys(workers).length === 0) return;
      // What they would say in the end is not what was wrong.
      for (const worker of Object.values(workers)) worker?.process.kill("SIGKILL");
      reject(
        new Error("forks workers with node:cluster, as Paceline does: run the worker's part, and set `instances`"),
      );
    };
    check();
    look = setInterval(check, LOOK_EVERY_MS).unref();
  });
  hooks.keepAlive(false);
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
