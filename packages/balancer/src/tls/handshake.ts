/** A client of an https address until TLS is established. Reads its ClientHello, chooses a certificate, and enforces the deadline. */
import type { Deadlines } from "../deadlines.js";
import type { Peer } from "../http1/forwarded.js";
import type { Connection, ConnectionOwner } from "../transport/transport.js";
import { type ClientHello, MAX_HELLO_BYTES, readClientHello } from "./client-hello.js";

/** The result of a handshake. */
export interface Secured {
  /** The protocol chosen by ALPN; empty if the client does not use it. */
  protocol: string;
  /** The fields for the client's certificate; empty without one. */
  certificate: readonly (readonly [string, string])[];
}

/** Starts TLS on a connection of this runtime. */
export interface TlsService {
  /**
   * Returns the connection with TLS; the given one must not be used any more. If the handshake fails, the new owner gets `onClose`. Returns
   * undefined if there is no certificate; the given connection is then unchanged.
   * @param first the bytes that the client has sent so far
   */
  begin(
    connection: Connection,
    first: Buffer,
    hello: ClientHello & { kind: "hello" },
    onSecure: (secured: Secured) => void,
  ): Connection | undefined;
  /** If absent, certificates are not ordered on demand. */
  readonly onDemand?: OnDemand;
}

export interface OnDemand {
  /** Whether there may soon be a certificate for the requested name. */
  lacks(hello: ClientHello & { kind: "hello" }): boolean;
  readonly wanted: WantedNames;
}

/** How many handshakes start in one turn of the event loop. Each computes a signature, which delays other clients. */
const MAX_PER_TURN = 4;

/** Starts handshakes in the order in which clients ask for them, a few in each turn. */
export class HandshakeTurns {
  private left = MAX_PER_TURN;
  private isArmed = false;
  private readonly waiting = new Set<() => void>();

  /** Calls `begin` now, or in a later turn unless the handshake is withdrawn before. */
  take(begin: () => void): void {
    if (this.left > 0) {
      this.left--;
      begin();
    } else this.waiting.add(begin);
    if (!this.isArmed) this.arm();
  }

  withdraw(begin: () => void): void {
    this.waiting.delete(begin);
  }

  private arm(): void {
    this.isArmed = true;
    setImmediate(this.next);
  }

  private readonly next = (): void => {
    this.isArmed = false;
    this.left = MAX_PER_TURN;
    for (const begin of this.waiting) {
      if (this.left-- === 0) break;
      this.waiting.delete(begin);
      begin();
    }
    this.left = Math.max(this.left, 0);
    if (this.waiting.size > 0) this.arm();
  };
}

interface HandshakeOptions {
  connection: Connection;
  peer: Peer;
  deadlines: Deadlines;
  /** How long the handshake may take, in milliseconds. */
  timeoutMs: number;
  tls: TlsService;
  turns: HandshakeTurns;
  /** Called when TLS is established. Returns the new owner of the connection. */
  onSecure(connection: Connection, secured: Secured): ConnectionOwner;
  /** Called when the connection was closed instead, by the balancer or by the peer. */
  onGone(): void;
}

/** The response to a client that speaks plain HTTP. */
const PLAIN_HTTP = Buffer.from(
  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 37\r\nConnection: close\r\n\r\nThis address takes https, not http.\r\n",
);
const METHOD = /^[A-Z]{3,10} /;
/** A fatal alert: unrecognized_name (RFC 6066 §3). */
const NO_CERTIFICATE = Buffer.from([21, 3, 1, 0, 2, 2, 112]);
/** The certificate authority checks only the certificate (RFC 8737 §3). */
const ACME = "acme-tls/1";

type State = "hello" | "turn" | "shaking" | "done";

export class Handshake implements ConnectionOwner {
  deadlineAt: number;
  deadlineIndex = -1;
  private state: State = "hello";
  private received: Buffer | undefined;
  private hello: (ClientHello & { kind: "hello" }) | undefined;
  private connection: Connection;
  /** Whether the supervisor was asked for a certificate. */
  private hasWaited = false;

  get peer(): Peer {
    return this.options.peer;
  }

  constructor(private readonly options: HandshakeOptions) {
    const { connection, deadlines, timeoutMs } = options;
    this.connection = connection;
    this.deadlineAt = deadlines.now + timeoutMs;
    deadlines.add(this);
  }

  onData(bytes: Buffer): boolean {
    if (this.state === "done" || this.state === "shaking") return true;
    const all = this.received === undefined ? Buffer.from(bytes) : Buffer.concat([this.received, bytes]);
    this.received = all;
    if (this.state === "turn") {
      if (all.length > 2 * MAX_HELLO_BYTES) this.cut();
      return true;
    }
    const hello = readClientHello(all);
    if (hello.kind === "hello") {
      this.hello = hello;
      this.state = "turn";
      this.options.turns.take(this.begin);
    } else if (hello.kind === "other") this.refuse(all);
    else if (all.length > MAX_HELLO_BYTES) this.cut();
    return true;
  }

  private refuse(first: Buffer): void {
    if (!METHOD.test(first.toString("latin1", 0, 12))) return this.cut();
    this.connection.write(PLAIN_HTTP);
    this.close();
  }

  private readonly begin = (): void => {
    const { tls } = this.options;
    const { received, hello } = this;
    if (received === undefined || hello === undefined) return;
    if (!this.hasWaited && tls.onDemand?.lacks(hello)) {
      this.hasWaited = true;
      if (tls.onDemand.wanted.wait(hello.name, this.resume)) return;
    }
    this.received = undefined;
    const secured = tls.begin(this.connection, received, hello, (said) => this.secure(said));
    if (secured === undefined) {
      this.connection.write(NO_CERTIFICATE);
      return this.close();
    }
    this.connection = secured;
    // TLS may be established, or have failed, within the call.
    if ((this.state as State) === "done") return;
    this.state = "shaking";
    secured.owner = this;
  };

  private readonly resume = (): void => this.options.turns.take(this.begin);

  private secure(secured: Secured): void {
    if (this.state === "done") return;
    if (secured.protocol === ACME) return this.close();
    this.finish();
    const { connection } = this;
    connection.owner = this.options.onSecure(connection, secured);
  }

  onDrain(): void {}

  onEnd(): void {
    this.cut();
  }

  onClose(): void {
    if (this.state === "done") return;
    this.finish();
    this.options.onGone();
  }

  onDeadline(): void {
    this.cut();
  }

  /** When the handshake began, in milliseconds of `Deadlines.now`. */
  get owesRequestSince(): number {
    return this.state === "done" ? Number.POSITIVE_INFINITY : this.deadlineAt - this.options.timeoutMs;
  }

  readonly isKept = false;

  /** Closes the connection to make room for another client. */
  closeForOthers(): void {
    this.cut();
  }

  /** Called each second. Has nothing to do, since the connection is never paused. */
  lookIfLeft(): void {}

  /** Called at the end of a drain's grace period. */
  closeIfIdle(): void {
    this.cut();
  }

  private close(): void {
    if (this.state === "done") return;
    this.finish();
    this.connection.close();
    this.options.onGone();
  }

  private cut(): void {
    if (this.state === "done") return;
    this.finish();
    this.connection.reset();
    this.options.onGone();
  }

  private finish(): void {
    this.state = "done";
    this.received = undefined;
    this.options.turns.withdraw(this.begin);
    if (this.hasWaited) this.options.tls.onDemand?.wanted.withdraw(this.hello?.name ?? "", this.resume);
    this.options.deadlines.remove(this);
  }
}

/** Beyond this number, handshakes fail at once, because clients choose the names. */
const MAX_NAMES = 64;
const MAX_WAITING = 512;

/** Names without a certificate. The supervisor is asked once for each, and handshakes wait for its reply. */
export class WantedNames {
  private readonly waiting = new Map<string, Set<() => void>>();
  private count = 0;

  /** @param ask asks the supervisor. `settle` is called later if there will be no certificate */
  constructor(private readonly ask: (name: string) => void) {}

  /** Calls `resume` when it is known whether there is a certificate for the name. Returns false if too many names are waiting. */
  wait(name: string, resume: () => void): boolean {
    let waiting = this.waiting.get(name);
    if (this.count >= MAX_WAITING || (waiting === undefined && this.waiting.size >= MAX_NAMES)) return false;
    if (waiting === undefined) {
      waiting = new Set();
      this.waiting.set(name, waiting);
      this.ask(name);
    }
    waiting.add(resume);
    this.count++;
    return true;
  }

  /** Called when the client has left, or its deadline has passed. */
  withdraw(name: string, resume: () => void): void {
    const waiting = this.waiting.get(name);
    if (waiting?.delete(resume) !== true) return;
    this.count--;
    if (waiting.size === 0) this.waiting.delete(name);
  }

  /** Called when there is a certificate for the name, or there will be none. */
  settle(name: string): void {
    const waiting = this.waiting.get(name);
    if (waiting === undefined) return;
    this.waiting.delete(name);
    this.count -= waiting.size;
    for (const resume of waiting) resume();
  }

  /** Called when a set of certificates is in use. */
  certified(has: (name: string) => boolean): void {
    for (const name of [...this.waiting.keys()]) if (has(name)) this.settle(name);
  }
}
