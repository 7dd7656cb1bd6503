/** The meaning of signals for the supervisor. */
import { closeSync, openSync } from "node:fs";
import type { OperationResult } from "../control/api.js";
import type { Pool } from "../core/fleet.js";
import { ignoresHangup } from "../hangup.js";
import type { EventLog } from "../logs/event-log.js";

interface SignalTarget {
  log: EventLog;
  stop(signal: string): void;
  /** Stops without waiting for requests in flight. */
  stopNow(): void;
  reload(signal: string): Promise<OperationResult>;
  scale(pool: string, instances: number, signal: string): Promise<OperationResult>;
  /** Returns the first pool of the config in its current state. */
  firstPool(): Pool | undefined;
}

/**
 * Listens for signals, and returns a function that stops it. SIGTERM, SIGQUIT and SIGINT stop the fleet; a second SIGINT stops it at once.
 * Without a controlling terminal, SIGHUP reloads, and SIGTTIN and SIGTTOU scale; with one, the terminal itself sends these signals. A
 * SIGHUP that was ignored at the start stays ignored.
 */
export function watchSignals(
  target: SignalTarget,
  { hasTerminal = hasControllingTerminal(), isHangupIgnored = ignoresHangup } = {},
): () => void {
  let interrupted = false;
  const ignored = (signal: string) =>
    target.log.event("warn", "paceline", `${signal} is ignored: it has no meaning here`);
  const handlers: Partial<Record<NodeJS.Signals, () => void>> = {
    SIGTERM: () => target.stop("SIGTERM"),
    SIGQUIT: () => target.stop("SIGQUIT"),
    // Without a listener, these signals would end the process.
    SIGUSR2: () => ignored("SIGUSR2"),
    SIGALRM: () => ignored("SIGALRM"),
    SIGINT: () => {
      if (interrupted) target.stopNow();
      else target.stop("SIGINT");
      interrupted = true;
    },
    ...(isHangupIgnored
      ? {}
      : {
          SIGHUP: () => (hasTerminal ? target.stop("SIGHUP") : void report(target, "SIGHUP", target.reload("SIGHUP"))),
        }),
    ...(hasTerminal
      ? {}
      : { SIGTTIN: () => scaleBy(target, "SIGTTIN", 1), SIGTTOU: () => scaleBy(target, "SIGTTOU", -1) }),
  };
  const entries = Object.entries(handlers) as [NodeJS.Signals, () => void][];
  for (const [signal, handler] of entries) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of entries) process.off(signal, handler);
  };
}

/** Changes the number of instances of the first pool. */
function scaleBy(target: SignalTarget, signal: string, difference: 1 | -1): void {
  const pool = target.firstPool();
  if (pool === undefined) return;
  const instances = Math.max(0, pool.wanted + difference);
  const scaling = target.scale(pool.name, instances, signal).then((result): OperationResult => {
    const wanted = target.firstPool()?.wanted;
    // Another signal has scaled it further, as requested.
    if (result.ok || wanted === undefined || wanted === instances) return result;
    return { ok: true, message: `${pool.name} was scaled to ${instances}, and since then to ${wanted}` };
  });
  void report(target, signal, scaling);
}

/** Logs the result, because nobody waits for the result of a signal. */
async function report({ log }: SignalTarget, signal: string, operation: Promise<OperationResult>): Promise<void> {
  const result = await operation.catch((error: unknown): OperationResult => {
    return { ok: false, code: "failed", message: error instanceof Error ? error.message : `${error}` };
  });
  log.event(result.ok ? "info" : "error", "paceline", `${signal}: ${result.message}`);
}

function hasControllingTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    // ENXIO: no controlling terminal; or there is no /dev/tty.
    return false;
  }
}
