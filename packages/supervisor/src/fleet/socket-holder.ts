/**
 * Asks a balancer that has lost its supervisor to start the next one, because only a process that holds the listening sockets can pass them
 * on.
 */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { LineFramer, parseChildMessage, type SupervisorProgram } from "@paceline/wire";
import { PacelineError } from "../errors.js";
import { readFleetFile } from "../run-dir/fleet-file.js";
import { refuseDuringHandOver } from "../run-dir/hand-over.js";
import { identify, isStopped, lockHolder, type RunDirLock, takeLock } from "../run-dir/lock.js";
import { findOrphans } from "../run-dir/orphans.js";
import { distrust } from "../run-dir/trust.js";

/**
 * How long to wait, in milliseconds. Balancers try to connect four times a second. For a balancer that can run, the wait is longer than for
 * one that is stopped, because without it the sockets would be lost.
 */
const PATIENCE = { usualMs: 8_000, mostMs: 20_000 };
/**
 * After this many milliseconds, a balancer that still waits for its first snapshot is asked instead: it has the sockets too. One of an
 * earlier version does not pass them on.
 */
const STARTING_AFTER_MS = 1_000;
const LOOK_EVERY_MS = 50;
const REPLY_TIMEOUT_MS = 5_000;

/** A balancer that responds and can be asked once. */
export interface SocketHolder {
  /** Whether it is still starting, so that it may have no sockets to pass on. */
  isStarting: boolean;
  /** The folder for the sockets and files of the run directory, with a path short enough for sockets. */
  folder: string;
  /**
   * @returns the pid of the supervisor
   * @throws PacelineError `failed`
   */
  spawn(program: SupervisorProgram): Promise<number>;
  close(): void;
}

/**
 * Finds a balancer of the fleet in `runDir`, if that balancer has lost its supervisor. Meanwhile serves its control channel, under the lock
 * of the run directory, and releases both before it returns. Undefined if no balancer connects, or a supervisor holds the lock.
 * @throws PacelineError `busy` if two supervisors hand the fleet over
 */
export async function findSocketHolder(runDir: string, patience = PATIENCE): Promise<SocketHolder | undefined> {
  // The start itself reports why it is refused. A lock of root would keep the owner out.
  if (distrust(runDir) !== undefined) return undefined;
  const record = readFleetFile(runDir);
  if (record === undefined || record.endedAt !== null) return undefined;
  const { channelSocket } = record;
  const tokens = new Map(
    findOrphans(channelSocket).flatMap(({ isBalancer, token, pid }) => (isBalancer && token ? [[token, pid]] : [])),
  );
  if (tokens.size === 0) return undefined;
  refuseDuringHandOver(runDir);
  const lock = await lockAmongStarts(runDir, patience.mostMs);
  if (lock === undefined) return undefined;
  try {
    const channel = new BriefChannel(channelSocket, tokens, patience);
    return await channel.holder();
  } finally {
    lock.release();
  }
}

/**
 * Takes the lock of the run directory. Another start may hold it for a moment, for example when several balancers start a supervisor at
 * once. A start without the sockets must not win then. Returns undefined if a supervisor has the lock.
 */
async function lockAmongStarts(runDir: string, mostMs: number): Promise<RunDirLock | undefined> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return takeLock(runDir);
    } catch (error) {
      if (!(error instanceof PacelineError) || error.code !== "running") throw error;
    }
    // A supervisor writes its record soon after it has taken the lock.
    const record = readFleetFile(runDir);
    const holder = lockHolder(runDir);
    if (holder !== undefined && holder.pid === record?.pid) return undefined;
    if (performance.now() - startedAt >= mostMs) return undefined;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** A control channel that talks to one balancer, and keeps the other children waiting. */
class BriefChannel {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private starting: Socket | undefined;
  private hear: (line: string, socket: Socket) => void = () => {};

  /** @param tokens the pids of the balancers, by the token of their hello */
  constructor(
    private readonly path: string,
    private readonly tokens: ReadonlyMap<string, number>,
    private readonly patience: typeof PATIENCE,
  ) {
    this.server = createServer((socket) => {
      this.sockets.add(socket);
      const framer = new LineFramer((line) => this.hear(line, socket));
      socket.on("data", (bytes: Buffer) => {
        if (!framer.push(bytes)) socket.destroy();
      });
      socket.on("error", () => {}); // "close" follows.
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  async holder(): Promise<SocketHolder | undefined> {
    rmSync(this.path, { force: true });
    const socket = await this.connected();
    // From here on, the socket file belongs to the next supervisor.
    this.server.close();
    if (socket === undefined) {
      this.end();
      return undefined;
    }
    const folder = this.path.slice(0, this.path.lastIndexOf("/"));
    return {
      isStarting: socket === this.starting,
      folder,
      spawn: (program) => this.spawn(socket, program),
      close: () => this.end(),
    };
  }

  private connected(): Promise<Socket | undefined> {
    return new Promise((resolve) => {
      const startedAt = performance.now();
      const { usualMs, mostMs } = this.patience;
      const timer = setInterval(() => {
        const waitedMs = performance.now() - startedAt;
        if (waitedMs >= STARTING_AFTER_MS && this.starting?.destroyed === false) done(this.starting);
        const present = [...this.tokens.values()].filter((pid) => identify(pid) !== undefined);
        const canOneRun = present.some((pid) => !isStopped(pid));
        // All balancers have exited, as in a stop. This start must not keep the lock from others.
        if (present.length === 0) done(undefined);
        if (waitedMs >= (canOneRun ? mostMs : usualMs)) done(undefined);
      }, LOOK_EVERY_MS);
      const done = (socket: Socket | undefined) => {
        clearInterval(timer);
        resolve(socket);
      };
      this.hear = (line, socket) => {
        const message = parsed(line);
        if (message?.type !== "hello" || this.tokens.get(message.token) !== message.pid) return;
        if (message.phase === "ready") done(socket);
        else if (message.phase === "starting") this.starting = socket;
      };
      this.server.on("error", () => done(undefined));
      this.server.listen(this.path, () => chmodSync(this.path, 0o600));
    });
  }

  private spawn(socket: Socket, program: SupervisorProgram): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      const fail = (why: string) =>
        reject(new PacelineError("failed", `a balancer could not start the supervisor: ${why}`));
      const timer = setTimeout(() => fail("it does not respond"), REPLY_TIMEOUT_MS);
      this.hear = (line, from) => {
        const message = parsed(line);
        if (from !== socket || message?.type !== "supervisorSpawned") return;
        clearTimeout(timer);
        if (message.pid === null) fail(message.problem ?? "no reason");
        else resolve(message.pid);
      };
      socket.on("close", () => {
        clearTimeout(timer);
        fail("it has ended");
      });
      socket.write(`${JSON.stringify({ type: "spawnSupervisor", program })}\n`);
    }).finally(() => this.end());
  }

  private end(): void {
    for (const socket of this.sockets) socket.destroy();
  }
}

function parsed(line: string): ReturnType<typeof parseChildMessage> | undefined {
  try {
    return parseChildMessage(line);
  } catch {
    return undefined; // From a version with other messages.
  }
}
