/** Connections of a trusted proxy that start with a PROXY header, which is read before the first request and has a deadline. */
import type { Deadlines } from "../deadlines.js";
import { type ProxyHeader, readProxyHeader } from "../http1/proxy-header.js";
import type { Connection, ConnectionOwner } from "../transport/transport.js";

/** The minimum time between two reports of closed connections, in milliseconds. */
const REPORT_EVERY_MS = 60_000;

/** Counts connections that were closed because of their input, and reports them to the operator at most once a minute. */
export class ClosedClients {
  private closed = 0;
  private reportAt = Number.NEGATIVE_INFINITY;

  /** @param onNotice receives a line for the operator, which contains `why` */
  constructor(
    private readonly onNotice: (line: string) => void,
    private readonly why: string,
    private readonly clock: () => number = () => performance.now(),
  ) {}

  note(address: string, problem: string): void {
    this.closed++;
    const now = this.clock();
    if (now < this.reportAt) return;
    this.reportAt = now + REPORT_EVERY_MS;
    const others = this.closed > 1 ? `, and ${this.closed - 1} others before` : "";
    this.onNotice(`closed a connection from ${address} ${this.why}: ${problem}${others}`);
    this.closed = 0;
  }
}

interface ProxiedOptions {
  connection: Connection;
  deadlines: Deadlines;
  /** How long the header may take, in milliseconds. */
  timeoutMs: number;
  /** Called when the header has arrived. Returns the new owner of the connection. */
  onHeader(header: Extract<ProxyHeader, { kind: "local" | "client" }>): ConnectionOwner;
  /**
   * Called when the connection was closed instead.
   * @param problem the reason; undefined if the peer closed it
   */
  onGone(problem: string | undefined): void;
}

export class ProxiedClient implements ConnectionOwner {
  deadlineAt: number;
  deadlineIndex = -1;
  /** The part of the header received so far. */
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
    this.cut("it did not arrive in time");
  }

  /** Since when the header is awaited, in milliseconds of `Deadlines.now`. */
  get owesRequestSince(): number {
    return this.isDone ? Number.POSITIVE_INFINITY : this.deadlineAt - this.options.timeoutMs;
  }

  readonly isKept = false;

  /** Closes the connection to make room for another client. */
  closeForOthers(): void {
    this.cut("another client needed its place before the header arrived");
  }

  /** Called each second. Has nothing to do, since the connection is never paused. */
  lookIfLeft(): void {}

  /** Called at the end of a drain's grace period. */
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
