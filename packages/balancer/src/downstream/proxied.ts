/** Connections from a trusted proxy that begin with a PROXY header: read before the first request, by a deadline. */
import type { Deadlines } from "../deadlines.js";
import type { Connection, ConnectionOwner } from "../transport/transport.js";
import { type ProxyHeader, readProxyHeader } from "./proxy-header.js";

/** How often closed connections are reported at most. */
const TELL_EVERY_MS = 60_000;

/** Counts connections that were closed for what they brought, and tells the operator, at most once a minute. */
export class ClosedClients {
  private closed = 0;
  private tellAt = Number.NEGATIVE_INFINITY;

  /** @param tell receives a line for the operator, which says `why` */
  constructor(
    private readonly tell: (line: string) => void,
    private readonly why: string,
    private readonly clock: () => number = () => performance.now(),
  ) {}

  note(address: string, problem: string): void {
    this.closed++;
    const now = this.clock();
    if (now < this.tellAt) return;
    this.tellAt = now + TELL_EVERY_MS;
    const others = this.closed > 1 ? `, and ${this.closed - 1} others before` : "";
    this.tell(`closed a connection from ${address} ${this.why}: ${problem}${others}`);
    this.closed = 0;
  }
}

interface ProxiedOptions {
  connection: Connection;
  deadlines: Deadlines;
  /** How long the header may take, in milliseconds. */
  timeoutMs: number;
  /** The header has come: returns who owns the connection from now on. */
  onHeader(header: Extract<ProxyHeader, { kind: "local" | "client" }>): ConnectionOwner;
  /** It was closed instead, by us or by the peer. @param problem undefined: by the peer */
  onGone(problem: string | undefined): void;
}

export class ProxiedClient implements ConnectionOwner {
  deadlineAt: number;
  deadlineIndex = -1;
  /** What has come of the header so far. */
  private received: Buffer | undefined;
  private isDone = false;

  constructor(private readonly options: ProxiedOptions) {
    const { deadlines, timeoutMs } = options;
    this.deadlineAt = deadlines.now + timeoutMs;
    deadlines.add(this);
  }

  onData(bytes: Buffer): boolean {
    if (this.isDone) return true;
    const { received, options } = this;
    const all = received === undefined ? bytes : Buffer.concat([received, bytes]);
    const header = readProxyHeader(all);
    switch (header.kind) {
      case "incomplete":
        // A copy: the caller may free its bytes.
        this.received = Buffer.from(all);
        return true;
      case "malformed":
        this.cut(header.problem);
        return true;
      case "local":
      case "client": {
        this.finish();
        const owner = options.onHeader(header);
        options.connection.owner = owner;
        if (header.end === all.length) return true;
        return owner.onData(all.subarray(header.end)) || all !== bytes;
      }
      default:
        return header satisfies never;
    }
  }

  onDrain(): void {}

  onEnd(): void {
    this.close();
  }

  onClose(): void {
    if (this.isDone) return;
    this.finish();
    this.options.onGone(undefined);
  }

  onDeadline(): void {
    this.cut("it did not come in time");
  }

  /** Since when its header is awaited, in milliseconds of `Deadlines.now`. */
  get owesRequestSince(): number {
    return this.isDone ? Number.POSITIVE_INFINITY : this.deadlineAt - this.options.timeoutMs;
  }

  readonly isKept = false;

  /** Closes the connection, for another client. */
  giveWay(): void {
    this.cut("others needed its place before it came");
  }

  /** Called each second; nothing was paused. */
  lookIfLeft(): void {}

  /** Called at the end of a drain's grace. */
  closeIfIdle(): void {
    this.close();
  }

  private close(): void {
    if (this.isDone) return;
    this.finish();
    this.options.connection.close();
    this.options.onGone(undefined);
  }

  private cut(problem: string): void {
    if (this.isDone) return;
    this.finish();
    this.options.connection.reset();
    this.options.onGone(problem);
  }

  private finish(): void {
    this.isDone = true;
    this.received = undefined;
    this.options.deadlines.remove(this);
  }
}
