/**
 * Watches Bun.serve responses that take longer than a turn. Bun's timer mistakes silence and slow readers for idle connections, so it is
 * disabled for them. Stalled clients are found by what the kernel holds for them. The kernel is asked about these connections only: its table has
 * those of the whole machine, and to read it each second for a single silent response took 3 % of a CPU.
 */
import {
  type AcknowledgingConnection,
  leaveToCollector,
  MAX_STEP_BYTES,
  pauseAfterLook,
  RunningTime,
  SlowReader,
} from "@paceline/wire";
import * as clients from "./bun-clients.js";

type BunServer = Bun.Server<undefined>;

const LOOK_MS = 1000;
/** Bun's shortest idle timeout, in seconds. */
const SHORTEST_SECONDS = 1;
/** Bun's longest idle timeout in seconds, used if the kernel cannot be asked. */
const LONGEST_SECONDS = 255;

/** The maximum number of responses that are kept until the end of a turn: a client that pipelines may start thousands in one read. */
const MAX_RESPONDED = 1024;
/** The approximate memory of a request and its response, in bytes. */
const REQUEST_BYTES = 2200;

/** A client, and the number of bytes that the kernel holds for it. */
class Outgoing implements AcknowledgingConnection {
  readonly seesAcknowledgements = true;
  private held = 0;
  /** Begins with the number of bytes that its kernel may have accepted before the first look, which may come late on a busy machine. */
  private moved = MAX_STEP_BYTES;
  private isKnown = false;

  /** The kernel's number changes when the client reads, and when Bun writes more. */
  noteHeld(bytes: number): void {
    if (this.isKnown) this.moved += Math.abs(this.held - bytes);
    this.isKnown = true;
    this.held = bytes;
  }

  get isWaiting(): boolean {
    return this.held > 0;
  }

  acknowledgedBytes(): number {
    return this.isKnown ? this.moved : -1;
  }
}

interface Sending {
  client: Outgoing;
  reader: SlowReader;
  /** The connection, from the first look on. */
  descriptor: number | undefined;
  /** 0 while no bytes are queued for it. */
  lookAtMs: number;
}

/** A turn longer than this delays others. From then on, the connections of clients that pipeline are closed. In milliseconds. */
const LONG_TURN_MS = 2;
/** In a long turn, every sixteenth request is checked: two in a row from the same client show that it pipelines. */
const SAMPLED_REQUESTS = 16;

export class BunSendWatch {
  /** Responses of this turn. */
  private readonly responded: Request[] = [];
  /** The requests of this turn, the start of the turn, and the client of the last sample in it. */
  private turnRequests = 0;
  private turnSinceMs = 0;
  private sampled = "";
  private readonly sending = new Map<Request, Sending>();
  private timer: NodeJS.Timeout | undefined;
  private server: BunServer | undefined;

  private readonly time = new RunningTime();
  private readonly everyMs: number;
  /** The planned time until the next look. */
  private pauseMs: number;

  /** @param timeoutMs the maximum time without progress of a client */
  constructor(
    private readonly timeoutMs: number,
    private readonly kernel: Pick<typeof clients, "connectionsWith" | "heldBytes" | "resetAtClose"> = clients,
  ) {
    this.everyMs = Math.min(LOOK_MS, timeoutMs / 4);
    this.pauseMs = this.everyMs;
  }

  /**
   * Adds a request whose response is passed to Bun, which sends as much as it can at once. Returns false if its connection must be closed
   * after the response: Bun calls the handler for all requests of a read without a pause, so one client could block the others.
   */
  add(request: Request, server: BunServer, nowMs: number): boolean {
    this.server = server;
    const count = this.responded.push(request);
    if (this.turnRequests++ === 0) {
      this.turnSinceMs = nowMs;
      setImmediate(this.onTurnEnd);
    }
    if (count >= MAX_RESPONDED) {
      // Bun has received the first responses, unless one promise completed half of them.
      this.keepLong(this.responded.splice(0, MAX_RESPONDED / 2));
      leaveToCollector((MAX_RESPONDED / 2) * REQUEST_BYTES);
    }
    if (this.turnRequests % SAMPLED_REQUESTS !== 0 || nowMs - this.turnSinceMs < LONG_TURN_MS) return true;
    return !this.isSampledAgain(request, server);
  }

  private isSampledAgain(request: Request, server: BunServer): boolean {
    const peer = server.requestIP(request);
    if (peer === null) return false;
    const before = this.sampled;
    this.sampled = `${peer.address} ${peer.port}`;
    return this.sampled === before;
  }

  private readonly onTurnEnd = (): void => {
    this.turnRequests = 0;
    this.sampled = "";
    this.keepLong(this.responded.splice(0));
  };

  /** Called before all connections are closed: an incomplete response must not look whole. */
  resetAtClose(): void {
    this.resetIncomplete([...this.responded, ...this.sending.keys()]);
  }

  /** Lets the kernel reset these connections when Bun closes them. With FIN, an HTTP/1.0 client would take a part of a body for the whole. */
  private resetIncomplete(requests: readonly Request[]): void {
    const peers = requests.map((request) => this.server?.requestIP(request)).filter((peer) => peer != null);
    if (peers.length > 0) this.kernel.resetAtClose(new Set(peers.map(clients.keyOf)));
  }

  private keepLong(responded: readonly Request[]): void {
    for (const request of responded) {
      // Bun forgets the address once the response was sent.
      if (this.server?.requestIP(request) == null) continue;
      const mayAsk = process.platform === "linux" && this.timeoutMs > 0;
      this.server.timeout(request, mayAsk ? 0 : LONGEST_SECONDS);
      if (!mayAsk) continue;
      const client = new Outgoing();
      const reader = new SlowReader(client, this.timeoutMs);
      this.sending.set(request, { client, reader, descriptor: undefined, lookAtMs: 0 });
    }
    if (this.sending.size === 0 || this.timer !== undefined) return;
    this.time.restart();
    this.startLooking();
  }

  private startLooking(): void {
    this.timer = setTimeout(this.look, this.pauseMs);
    this.timer.unref();
  }

  private readonly look = (): void => {
    const startedAt = performance.now();
    if (!this.time.count(startedAt, this.pauseMs)) return this.startLooking();
    const { server } = this;
    this.findConnections();
    const { now } = this.time;
    const late: Request[] = [];
    for (const [request, sending] of this.sending) {
      sending.client.noteHeld(this.kernel.heldBytes(sending.descriptor as number));
      if (!sending.client.isWaiting) sending.lookAtMs = 0;
      else if (sending.lookAtMs === 0) sending.lookAtMs = sending.reader.begin(now);
      else if (sending.lookAtMs <= now) {
        sending.lookAtMs = sending.reader.look(now);
        if (sending.lookAtMs > 0) continue;
        late.push(request);
      }
    }
    this.resetIncomplete(late);
    for (const request of late) {
      this.sending.delete(request);
      server?.timeout(request, SHORTEST_SECONDS);
    }
    this.pauseMs = pauseAfterLook(performance.now() - startedAt, this.everyMs, this.timeoutMs);
    this.timer = undefined;
    if (this.sending.size > 0) this.startLooking();
  };

  /** Forgets responses that were sent, and finds the connections of new ones. Those that are not found are left to Bun's timer. */
  private findConnections(): void {
    const sought = new Map<Request, string>();
    for (const [request, { descriptor }] of this.sending) {
      const peer = this.server?.requestIP(request);
      if (peer == null) this.sending.delete(request);
      else if (descriptor === undefined) sought.set(request, clients.keyOf(peer));
    }
    if (sought.size === 0) return;
    const found = new Map(this.kernel.connectionsWith(new Set(sought.values())));
    for (const [request, key] of sought) {
      const descriptor = found.get(key);
      if (descriptor !== undefined) {
        (this.sending.get(request) as Sending).descriptor = descriptor;
        continue;
      }
      this.sending.delete(request);
      this.server?.timeout(request, LONGEST_SECONDS);
    }
  }
}
