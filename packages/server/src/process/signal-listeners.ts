/** Runs the app's own SIGTERM or SIGINT listeners after its last response. Loaded by instances that exit. */

type SignalName = "SIGTERM" | "SIGINT";
type Listener = NodeJS.SignalsListener;

/** How long to wait for a listener that returns no promise, in milliseconds: by then it has exited or finished. */
const SILENT_LISTENER_MS = 5000;
const NUMBERS = { SIGTERM: 15, SIGINT: 2 } as const;
const SIGNALS = Object.keys(NUMBERS) as SignalName[];

/**
 * Calls the listeners as the signal itself would. Our own listeners are removed before: a listener that raises the signal again, as many
 * do, then ends the process. Resolves when their promises have settled, or at the deadline.
 * @param ours the listeners to remove
 */
export async function runSignalListeners(ours: Record<SignalName, Listener>, remainingMs: number): Promise<void> {
  const signal = SIGNALS.find((name) => hasOther(name, ours[name]));
  if (signal === undefined) return;
  for (const name of SIGNALS) process.off(name, ours[name]);
  const returned = process.listeners(signal).map(async (listener) => {
    // Its return value matters, despite its type.
    const result: unknown = (listener as (name: string, number: number) => unknown).call(
      process,
      signal,
      NUMBERS[signal],
    );
    if (result === undefined) return "silent";
    await result;
    return "done";
  });
  let timer: NodeJS.Timeout | undefined;
  const after = (ms: number) =>
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
  const settled = Promise.allSettled(returned).then(async (results) => {
    for (const result of results)
      if (result.status === "rejected") console.error(`a listener for ${signal} failed:`, result.reason);
    const isAnyStalled = results.some((result) => result.status === "fulfilled" && result.value === "silent");
    if (isAnyStalled) await new Promise((resolve) => setTimeout(resolve, Math.min(SILENT_LISTENER_MS, remainingMs)));
  });
  await Promise.race([settled, after(remainingMs)]);
  clearTimeout(timer);
}

function hasOther(name: SignalName, ours: Listener): boolean {
  return process.listeners(name).some((listener) => listener !== ours);
}
