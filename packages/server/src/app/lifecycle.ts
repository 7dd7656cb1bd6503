/** Runs the app's code that comes before its first request and after its last one. */
import type { App, AppLifecycle } from "../shared/app.js";
import { hintOnListening, ServerError } from "../shared/errors.js";

/** The minimum time for stop(), in milliseconds, even after the drain's deadline: an app may have to save something. */
const LEAST_STOP_MS = 1000;

/**
 * Returns the start and stop of a module or of its default export. Ignores them in an object with `listen`, such as a framework's app,
 * where they control the object's own listening.
 */
export function lifecycleOf(module: object, exported: unknown): AppLifecycle {
  const listens = functionOf(exported, "listen") !== undefined;
  const find = (name: string) => {
    const own = functionOf(exported, name);
    const named = functionOf(module, name);
    // On Bun named exports also include the members of `module.exports`.
    const isOfModule = named !== undefined && memberOf(module, name) !== memberOf(exported, name);
    return isOfModule ? named : listens ? undefined : own;
  };
  const [start, beforeDrain, stop] = [find("start"), find("beforeDrain"), find("stop")];
  return {
    ...(start === undefined ? {} : { start }),
    ...(beforeDrain === undefined ? {} : { beforeDrain }),
    ...(stop === undefined ? {} : { stop }),
  };
}

/** Returns the app with the module's start first and the module's stop last. */
export function withLifecycle(app: App, { start, beforeDrain, stop }: AppLifecycle): App {
  return {
    ...app,
    ...inTurn("start", start, app.start),
    ...inTurn("beforeDrain", beforeDrain, app.beforeDrain),
    ...inTurn("stop", app.stop, stop),
  };
}

function inTurn(name: keyof AppLifecycle, first?: () => unknown, second?: () => unknown): AppLifecycle {
  const both = async () => {
    await first?.();
    await second?.();
  };
  return first === undefined && second === undefined ? {} : { [name]: both };
}

function functionOf(value: unknown, name: string): (() => unknown) | undefined {
  const found = memberOf(value, name);
  return typeof found === "function" ? found.bind(value) : undefined;
}

function memberOf(value: unknown, name: string): unknown {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined;
  return (value as Record<string, unknown>)[name];
}

/** Resolves when the app has started. @throws ServerError `start-failed` with the app's error as its cause. */
export async function startApp({ start }: App): Promise<void> {
  try {
    await start?.();
  } catch (cause) {
    throw new ServerError("start-failed", `start() failed: ${cause}${hintOnListening(cause)}`, { cause });
  }
}

/** Resolves when the app has stopped or at the deadline; errors go to stderr. */
export async function stopApp({ stop }: App, remainingMs: number): Promise<void> {
  if (stop === undefined) return;
  const deadlineMs = Math.max(LEAST_STOP_MS, remainingMs);
  let timer: NodeJS.Timeout | undefined;
  const cut = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      console.error("stop() was cut off at the deadline");
      resolve();
    }, deadlineMs);
  });
  const stopped = (async () => stop())().then(
    () => {},
    (error: unknown) => console.error("stop() failed:", error),
  );
  await Promise.race([stopped, cut]);
  clearTimeout(timer);
}
