/** Starts the supervisor that takes over from the one in this process. Stays beside it if another program waits for this process. */
import { spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readlinkSync, readSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { BUN_ONE_READER } from "@paceline/wire";
import { attempt, errorLineOf } from "@paceline/wire/proc";
import type { LoadedFleet } from "../config/load.js";
import type { PreparedStart } from "../fleet/prepare-start.js";
import { StarterEnd } from "../fleet/starter-link.js";
import { originArguments, waitForNotice } from "../fleet/supervisor-process.js";
import { type OpenHandOver, TAKE_OVER_MS } from "../run-dir/hand-over.js";
import { forRuntime, inheritable, processTitle } from "../runtime/runtimes.js";
import type { HandOver } from "../supervisor-options.js";
import { type StartOptions, startOf } from "./options.js";
import { EXIT, type ExitStatus } from "./output.js";
import { type Invitation, reportMainPid } from "./service-manager.js";
import { passSignalsOn } from "./start-as-client.js";
import type { Starter } from "./starter.js";

const FIRST_FD = 3;

interface Surroundings {
  prepared: PreparedStart;
  /** The running fleet. */
  fleet: LoadedFleet;
  options: StartOptions;
  target: string;
  channelSocket: string;
  mark: OpenHandOver;
  starter: Starter | undefined;
  invitation: Invitation | undefined;
}

/** Returns the exit status of this process after the fleet was handed over, or the reason why it was not. */
export async function startNextSupervisor(
  handOver: HandOver,
  from: Surroundings,
): Promise<ExitStatus | { problem: string }> {
  const { next, sockets } = handOver;
  const { prepared, fleet, options, starter, invitation, channelSocket } = from;
  const fds = sockets.map(({ fd }) => fd);
  const folder = dirname(channelSocket);
  const ownLink = mustStay(from) ? join(folder, `s${process.pid}`) : undefined;
  const stay = ownLink === undefined ? undefined : await StarterEnd.listen(ownLink);
  const link = ownLink ?? (starter?.link?.isLeft === false ? options.starter : undefined);
  const fleetFile = fleet.source.kind === "object" ? join(folder, `f${process.pid}`) : undefined;
  if (fleetFile !== undefined) writeFileSync(fleetFile, JSON.stringify(fleet), { mode: 0o600 });
  const { cwd, environment } = prepared.request;
  const args = [
    ...["start", "--next-supervisor", "--listen-fds", String(fds.length), "--notify-fd", String(FIRST_FD + fds.length)],
    ...["--log-format", options.logFormat ?? "text", "--run-dir", prepared.runDirPath],
    ...(fleetFile === undefined ? [] : ["--fleet-file", fleetFile]),
    ...(link === undefined ? [] : ["--starter", link]),
    ...(options.stopWithClient && link !== undefined ? ["--stop-with-client"] : []),
    ...(options.watch ? ["--watch"] : []),
    ...originArguments(startOf(from.target, options)),
  ];
  const written = ownOutput();
  const child = spawn(next.command, [...next.args, ...args], {
    cwd,
    argv0: processTitle("supervisor", fleet.config.name),
    env: forRuntime(
      { ...inheritable(environment), ...invitation?.variables, PWD: cwd, [BUN_ONE_READER]: "1" },
      { hasUserCode: false },
    ),
    detached: true,
    stdio: ["ignore", "inherit", "inherit", ...fds, "pipe"],
  });
  const { pid } = child;
  if (pid !== undefined) from.mark.started(pid);
  const exited = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal === null ? `exit status ${code}` : `killed by ${signal}`));
  });
  const kill = (signal: NodeJS.Signals) => void child.kill(signal);
  const endPassing = passSignalsOn(kill);
  handOver.forget();
  const pipe = child.stdio[FIRST_FD + fds.length] as Readable;
  const notice = pid === undefined ? "ended" : await waitForNotice(pipe, TAKE_OVER_MS);
  if (notice !== "up") {
    kill("SIGKILL");
    const how = await exited;
    endPassing();
    stay?.close();
    if (fleetFile !== undefined) rmSync(fleetFile, { force: true });
    const why = {
      late: `it did not take over within ${TAKE_OVER_MS / 1000} s`,
      ended: `it ended (${how})${saidBy(written())}`,
    };
    return { problem: typeof notice === "object" ? notice.message : why[notice] };
  }
  from.mark.remove();
  if (handOver.wantsStop) kill("SIGTERM");
  // If this process kept its copies of the sockets, they would stay open after a stop of the fleet.
  for (const fd of fds) closeSync(fd);
  if (invitation !== undefined && pid !== undefined) await reportMainPid(invitation, pid);
  starter?.link?.handOver();
  child.unref();
  if (stay === undefined) return EXIT.done;
  endPassing();
  return stayBeside(stay, from);
}

/** Whether a command or a shell waits for this very process. */
function mustStay({ starter, invitation, options }: Surroundings): boolean {
  if (invitation !== undefined || starter?.link !== undefined) return false;
  return starter === undefined || (options.stopWithClient === true && !process.stdin.destroyed);
}

/** Passes signals on, and exits with the supervisor and its status. Stops the supervisor when the client of this process ends. */
async function stayBeside(stay: StarterEnd, { starter, options }: Surroundings): Promise<ExitStatus> {
  const kill = (signal: NodeJS.Signals) => stay.kill(signal);
  const endPassing = passSignalsOn(kill);
  const forget = options.stopWithClient ? starter?.watch(() => kill("SIGTERM")) : undefined;
  const { code } = await stay.exited;
  forget?.();
  endPassing();
  return (code ?? EXIT.failed) as ExitStatus;
}

const MAX_READ_BYTES = 64 << 10;

/** Returns a function that reads what is written to stderr after this call, if stderr is a file. The next supervisor shares it. */
function ownOutput(): () => { lines: string[]; file: string | undefined } {
  const isFile = attempt(() => fstatSync(2).isFile()) === true;
  const from = isFile ? fstatSync(2).size : 0;
  const read = () => {
    const fd = openSync("/proc/self/fd/2", "r");
    try {
      const buffer = Buffer.alloc(MAX_READ_BYTES);
      return buffer.toString("utf8", 0, readSync(fd, buffer, 0, MAX_READ_BYTES, from)).split("\n");
    } finally {
      closeSync(fd);
    }
  };
  return () => ({
    lines: (isFile ? attempt(read) : undefined) ?? [],
    file: isFile ? attempt(() => readlinkSync("/proc/self/fd/2")) : undefined,
  });
}

function saidBy({ lines, file }: { lines: string[]; file: string | undefined }): string {
  const line = errorLineOf(lines);
  return `${line === "" ? "" : `: ${line}`}${file === undefined ? "" : `; its output is in ${file}`}`;
}
