/** Tells systemd what the supervisor does (sd_notify(3)), so that a unit of Type=notify is active when the fleet is ready. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import type { OperationResult, Status } from "../control/api.js";
import { STORED } from "../sockets/inherited-sockets.js";
import type { FleetObserver } from "../supervisor-options.js";

/** The program that sends a message, because neither runtime can send datagrams over a unix socket. */
const PROGRAM = "systemd-notify";
/** The deadline of one message, in milliseconds. */
const SEND_TIMEOUT_MS = 5_000;
/** The minimum time between two changes of the status text, in milliseconds. */
const STATUS_EVERY_MS = 1_000;
/** The resolution of /proc/uptime, in microseconds. */
const UPTIME_RESOLUTION_US = 10_000;

/** The variables by which systemd asks for messages. They apply only to this process and are not passed on. */
const VARIABLES = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] as const;

type Environment = NodeJS.ProcessEnv;

/** The values of systemd's variables. */
export interface Invitation {
  /** The variables themselves, for a process that takes over. */
  variables: Record<string, string>;
  socket: string;
  /** The time within which systemd expects a sign of life, in milliseconds; undefined if it expects none. */
  watchdogMs: number | undefined;
}

/** Takes systemd's variables out of the environment. Returns undefined if no service manager waits for messages. */
export function takeInvitation(environment: Environment = process.env, pid = process.pid): Invitation | undefined {
  const [socket = "", watchdog = "", watched = ""] = VARIABLES.map((name) => environment[name]);
  for (const name of VARIABLES) delete environment[name];
  if (socket === "") return undefined;
  const variables = Object.fromEntries([
    ["NOTIFY_SOCKET", socket],
    ...(watchdog === "" ? [] : [["WATCHDOG_USEC", watchdog]]),
  ] as const);
  const isWatched = /^\d+$/.test(watchdog) && Number(watchdog) > 0 && (watched === "" || Number(watched) === pid);
  return { variables, socket, watchdogMs: isWatched ? Number(watchdog) / 1000 : undefined };
}

interface ServiceManagerOptions extends Invitation {
  status(): Status;
  /** Called once, when a message could not be sent. */
  onProblem(message: string): void;
  /** Sends one message. Default: by systemd-notify. Rejects with the reason. */
  send?: (assignments: readonly string[]) => Promise<void>;
}

export class ServiceManager implements FleetObserver {
  private isReady = false;
  private hasFailed = false;
  private hasStored = false;
  private reloads = 0;
  private queue: Promise<void> = Promise.resolve();
  private waiting = 0;
  private said = "";
  private statusTimer: NodeJS.Timeout | undefined;
  private readonly watchdogTimer: NodeJS.Timeout | undefined;

  constructor(private readonly options: ServiceManagerOptions) {
    const { watchdogMs } = options;
    if (watchdogMs === undefined) return;
    // Sent twice within that time, as sd_watchdog_enabled(3) recommends. One waiting message is enough.
    this.watchdogTimer = setInterval(() => {
      if (this.waiting === 0) this.send(["WATCHDOG=1"]);
    }, watchdogMs / 2);
    this.watchdogTimer.unref();
  }

  /** Reports that the fleet serves. */
  ready(): void {
    this.isReady = true;
    this.send(["READY=1", `MAINPID=${process.pid}`, this.status()]);
  }

  /** Reports that a reload starts. Each call must be followed by `reloaded`. */
  reloading(): void {
    this.reloads++;
    if (this.isReady && this.reloads === 1) this.send(["RELOADING=1", `MONOTONIC_USEC=${monotonicUs()}`]);
  }

  reloaded(result: OperationResult): void {
    this.reloads--;
    if (!this.isReady || this.reloads > 0) return;
    // A failed reload leaves the fleet as it was, so the fleet is ready. The text reports what happened.
    const failure = result.ok ? undefined : `STATUS=${oneLine(`the last reload failed: ${result.message}`)}`;
    this.send(["READY=1", failure ?? this.status()]);
  }

  /** Stores sockets in systemd, so that the next main process gets them if this one is killed. Only on Bun. */
  async store(fds: readonly number[]): Promise<void> {
    if (process.versions.bun === undefined || process.platform !== "linux" || fds.length === 0) return;
    try {
      const { storeSockets } = await import("../sockets/fd-store.js");
      this.hasStored = storeSockets(this.options.socket, fds);
    } catch {
      // If this fails, the next start still takes over the fleet, but not the sockets.
    }
  }

  stopping(): void {
    if (this.hasStored) this.send(["FDSTOREREMOVE=1", `FDNAME=${STORED}`]);
    clearInterval(this.watchdogTimer);
    clearTimeout(this.statusTimer);
    this.isReady = false;
    this.send(["STOPPING=1", "STATUS=stopping"]);
  }

  /** Called when something has changed that the status text may show. */
  changed(): void {
    if (!this.isReady || this.statusTimer !== undefined) return;
    this.statusTimer = setTimeout(() => {
      this.statusTimer = undefined;
      // Messages that are not accepted must not accumulate.
      if (this.waiting > 0) return this.changed();
      const before = this.said;
      const status = this.status();
      if (this.isReady && status !== before) this.send([status]);
    }, STATUS_EVERY_MS);
    this.statusTimer.unref();
  }

  private status(): string {
    this.said = `STATUS=${oneLine(statusText(this.options.status()))}`;
    return this.said;
  }

  /** Sends in order. */
  private send(assignments: readonly string[]): void {
    const { socket, send = (them: readonly string[]) => sendByProgram(socket, them), onProblem } = this.options;
    this.waiting++;
    this.queue = this.queue
      .then(() => send(assignments))
      .catch((error: Error) => {
        if (!this.hasFailed) onProblem(`cannot send ${assignments[0]} to the service manager: ${error.message}`);
        this.hasFailed = true;
      })
      .finally(() => {
        this.waiting--;
      });
  }
}

/** Tells systemd that another process is the unit's main process. Resolves when systemd knows it, or cannot be told. */
export async function reportMainPid({ socket }: Invitation, pid: number): Promise<void> {
  // The next supervisor reports it again when it is ready.
  await sendByProgram(socket, [`MAINPID=${pid}`]).catch(() => {});
}

/** Returns a text, for example `web 4/4 ready, api 1/2 ready`. */
export function statusText({ pools }: Pick<Status, "pools">): string {
  return pools.map(({ name, ready, wanted }) => `${name} ${ready}/${wanted} ready`).join(", ");
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, "; ");
}

/** Returns CLOCK_MONOTONIC in microseconds, or a somewhat later time, which systemd accepts. Bun cannot read that clock. */
function monotonicUs(): number {
  const [seconds] = readFileSync("/proc/uptime", "latin1").split(" ");
  return Math.round(Number(seconds) * 1e6) + UPTIME_RESOLUTION_US;
}

function sendByProgram(socket: string, assignments: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH, NOTIFY_SOCKET: socket };
    execFile(PROGRAM, [...assignments], { env, timeout: SEND_TIMEOUT_MS }, (error, _stdout, stderr) => {
      if (error === null) return resolve();
      const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
      reject(new Error(isMissing ? `${PROGRAM} is not in PATH` : stderr.trim() || error.message));
    });
  });
}
