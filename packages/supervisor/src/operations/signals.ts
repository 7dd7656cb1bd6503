/** What signals mean to the supervisor. */
import { closeSync, openSync } from "node:fs";
import { ignoresHangup } from "../hangup.js";

export interface SignalTarget {
  stop(): void;
  /** Without grace. */
  stopNow(): void;
  reload(): void;
  /** Adds to the number of instances of the first pool. */
  scaleBy(difference: 1 | -1): void;
  /** A signal came that has no meaning here, and that ends a process which does not listen to it. */
  ignored(signal: string): void;
}

/**
 * Listens for signals; returns the function that ends that. SIGTERM, SIGQUIT and SIGINT stop, and a second SIGINT stops at once.
 * Without a controlling terminal SIGHUP reloads and SIGTTIN and SIGTTOU scale; with one the terminal sends these, the first
 * because it is gone. A SIGHUP that was ignored when this process was started stays ignored.
 */
export function watchSignals(
  target: SignalTarget,
  { hasTerminal = hasControllingTerminal(), isHangupIgnored = ignoresHangup } = {},
): () => void {
  let interrupted = false;
  const handlers: Partial<Record<NodeJS.Signals, () => void>> = {
    SIGTERM: () => target.stop(),
    SIGQUIT: () => target.stop(),
    SIGUSR2: () => target.ignored("SIGUSR2"),
    SIGALRM: () => target.ignored("SIGALRM"),
    SIGINT: () => {
      if (interrupted) target.stopNow();
      else target.stop();
      interrupted = true;
    },
    ...(isHangupIgnored ? {} : { SIGHUP: () => (hasTerminal ? target.stop() : target.reload()) }),
    ...(hasTerminal ? {} : { SIGTTIN: () => target.scaleBy(1), SIGTTOU: () => target.scaleBy(-1) }),
  };
  const entries = Object.entries(handlers) as [NodeJS.Signals, () => void][];
  for (const [signal, handler] of entries) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of entries) process.off(signal, handler);
  };
}

function hasControllingTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    // Without one, opening it is ENXIO; without a /dev/tty there is none either.
    return false;
  }
}
