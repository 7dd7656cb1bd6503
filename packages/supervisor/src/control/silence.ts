/** Notices that a supervisor does not respond, so that nobody waits for it without a word. */
import { setTimeout as sleep } from "node:timers/promises";
import { PacelineError } from "../errors.js";

/** How long a response may take until we look whether a signal has stopped the supervisor. */
const LOOK_AFTER_MS = 2_000;
const LOOK_AGAIN_MS = 100;
/** The pause between two questions to a supervisor that works on an operation. */
const ASK_EVERY_MS = 5_000;

/** What else can be seen of the supervisor. */
export interface WatchedSupervisor {
  /** Whether a signal has stopped it. */
  isStopped(): boolean;
  /** Says that it does not respond, and what to do. */
  silentText(): string;
}

/** Waits for a moment while a signal has stopped it. @throws PacelineError `unresponsive` */
export async function untilRunning(
  supervisor: WatchedSupervisor | undefined,
  deadline = Number.POSITIVE_INFINITY,
): Promise<void> {
  const until = Math.min(performance.now() + LOOK_AFTER_MS, deadline);
  while (supervisor?.isStopped()) {
    if (performance.now() >= until) throw new PacelineError("unresponsive", supervisor.silentText());
    await sleep(LOOK_AGAIN_MS);
  }
}

interface SilenceOptions {
  supervisor: WatchedSupervisor;
  /** Asks for something that a supervisor returns at once. @throws PacelineError `timeout` if it does not */
  ask(): Promise<unknown>;
  onSilent(error: PacelineError): void;
}

/** Watches until the returned function is called. */
export function watchSilence({ supervisor, ask, onSilent }: SilenceOptions): () => void {
  let isOver = false;
  let timer: NodeJS.Timeout;
  const look = async () => {
    const silent = () => onSilent(new PacelineError("unresponsive", supervisor.silentText()));
    if (supervisor.isStopped()) return silent();
    const isSilent = await ask().then(
      () => false,
      (error: unknown) => error instanceof PacelineError && error.code === "timeout",
    );
    if (isOver) return;
    if (isSilent) return silent();
    arm(ASK_EVERY_MS);
  };
  const arm = (ms: number) => {
    timer = setTimeout(() => void look(), ms);
  };
  arm(LOOK_AFTER_MS);
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}
