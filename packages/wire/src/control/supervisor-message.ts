/** The messages of the supervisor on the control channel, and their parser. */

import { type Certificates, certificatesProblem } from "./certificates.js";
import {
  ChannelError,
  type Checks,
  type Fields,
  fieldsOf,
  isAmount,
  isFields,
  isText,
  listOf,
  oneOf,
  optional,
  parseLine,
  problemIn,
} from "./checks.js";
import { type Snapshot, snapshotProblem } from "./snapshot.js";

/** The supervisor accepted the hello. */
interface Welcome {
  type: "welcome";
  /** The supervisor's pid. Missing from supervisors of earlier versions. */
  pid?: number;
}

/** The supervisor does not know this child: it sends the reason and closes the channel. The child drains and exits. */
interface Refused {
  type: "refused";
  reason: string;
}

/** The child must accept no new work, finish the rest with `Connection: close`, and exit with 0, at the latest at the deadline. */
export interface Drain {
  type: "drain";
  /** The time from receipt until the drain must have ended, in milliseconds. */
  deadlineMs: number;
}

/**
 * To a draining instance: no balancer has a connection to it any more, so no unread request can be in transit. It exits when nothing is in
 * flight.
 */
interface Released {
  type: "released";
}

/** To an instance, when the fleet stops: it keeps serving until the balancers have drained. Then a drain follows. */
interface Draining {
  type: "draining";
}

/** To an instance on the lane: calls its app with a GET of this path, whose response shows its health. */
export interface ProbeRequest {
  type: "probe";
  id: number;
  path: string;
  host: string;
  /** Whether this only warms up the app: any status below 500 is then good, and the body is read. */
  isWarmUp?: true;
}

/** To a child that has been silent for a while: it replies with a pong at once. */
interface Ping {
  type: "ping";
}

/** To a ready template: forks a process, which becomes the instance that its environment describes. */
interface Fork {
  type: "fork";
  /** For example `web.3#7`. */
  id: string;
  /** The variables that differ from the template's environment. */
  environment: Record<string, string>;
  /** The file that its stdout and stderr are appended to. */
  output: string;
}

/**
 * To a Python process that is about to be killed because a request has overrun its time: the process writes that request's traceback, if it
 * can.
 */
interface DescribeOverdue {
  type: "describeOverdue";
}

/** How a balancer starts the next supervisor. */
export interface SupervisorProgram {
  /** The absolute path of the runtime. */
  command: string;
  /** The first `LISTEN_FDS` is replaced by the number of listening sockets, which are inherited as fd 3, 4, …. */
  args: string[];
  /** Its argv[0]. */
  title: string;
  cwd: string;
  /** The file that its stdout and stderr are appended to. */
  output: string;
  /**
   * A file with the supervisor's whole environment as JSON, of mode 0600, which the balancer removes. Default: the balancer's own
   * environment.
   */
  environmentFile?: string;
}

/** The placeholder for the number of listening sockets in the arguments of a supervisor. */
export const LISTEN_FDS = "{listen-fds}";

/** To a balancer, which holds the listening sockets: starts the next supervisor, and replies with `supervisorSpawned`. */
interface SpawnSupervisor {
  type: "spawnSupervisor";
  program: SupervisorProgram;
}

/** To a balancer: the file of its access log was moved, so it must reopen it. */
interface ReopenLog {
  type: "reopenLog";
}

/** What a dump shows: the heap, the use of CPU time, or the stack of the running code. */
export type DumpKind = "heap" | "cpu" | "stack";

/** The child must write a dump of its process, and reply with `dumped`. */
export interface Dump {
  type: "dump";
  id: number;
  what: DumpKind;
  /** An absolute path of a new file. */
  path: string;
  /** How long the CPU is profiled, in milliseconds. */
  durationMs: number;
}

/** To a balancer, which replies with `open`. */
interface ListOpen {
  type: "listOpen";
  id: number;
}

/** To a balancer: a name that it asked for gets no certificate now. */
interface NoCertificate {
  type: "noCertificate";
  name: string;
}

export type SupervisorMessage =
  | NoCertificate
  | Certificates
  | ListOpen
  | Welcome
  | Refused
  | Drain
  | Released
  | Draining
  | ProbeRequest
  | Ping
  | DescribeOverdue
  | Dump
  | Fork
  | SpawnSupervisor
  | ReopenLog
  | Snapshot;

const isProgram = fieldsOf<SupervisorProgram>({
  ...{ command: isText, title: isText, cwd: isText, output: isText },
  args: listOf(isText),
  environmentFile: optional(isText),
});

/** Returns what is wrong with a message; undefined if it is valid. */
type ProblemOf = (message: Fields) => string | undefined;

const having =
  <Of extends object>(checks: Checks<Of>): ProblemOf =>
  (message) =>
    problemIn(message, checks);

const PROBLEMS: { readonly [Type in SupervisorMessage["type"]]: ProblemOf } = {
  welcome: having({}),
  refused: having<Refused>({ reason: isText }),
  drain: having<Drain>({ deadlineMs: isAmount }),
  released: having({}),
  draining: having({}),
  probe: having<ProbeRequest>({ id: isAmount, path: isText, host: isText }),
  ping: having({}),
  fork: having<Fork>({ id: isText, environment: isFields, output: isText }),
  describeOverdue: having({}),
  dump: having<Dump>({ id: isAmount, what: oneOf("heap", "cpu", "stack"), path: isText, durationMs: isAmount }),
  spawnSupervisor: having<SpawnSupervisor>({ program: isProgram }),
  reopenLog: having({}),
  listOpen: having<ListOpen>({ id: isAmount }),
  noCertificate: having<NoCertificate>({ name: isText }),
  snapshot: snapshotProblem,
  certificates: certificatesProblem,
};

/**
 * Parses one line. Returns undefined for a type of another version, which is ignored.
 * @throws ChannelError `bad-message`
 */
export function parseSupervisorMessage(line: string): SupervisorMessage | undefined {
  const message = parseLine(line, (reason, cause) => new ChannelError("bad-message", reason, { cause }));
  const { type } = message;
  if (isText(type) && !Object.hasOwn(PROBLEMS, type)) return undefined;
  const problem = isText(type) ? PROBLEMS[type as SupervisorMessage["type"]](message) : "no type";
  if (problem !== undefined) throw new ChannelError("bad-message", `${String(type)}: ${problem}`);
  return message as unknown as SupervisorMessage;
}
