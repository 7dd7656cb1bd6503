/**
 * Watches Bun.serve responses that take longer than a turn. Bun's timer mistakes silence and slow readers for idle connections, so it is
 * disabled for them. Stalled clients are found in the kernel's table of connections.
 */
import {
  type AcknowledgingConnection,
  eachTcpRow,
  leaveToCollector,
  MAX_STEP_BYTES,
  RunningTime,
  SlowReader,
} from "@paceline/wire";
import { hostOf } from "@paceline/wire/proc";
import { keyOf, resetAtClose } from "./bun-resets.js";

type BunServer = Bun.Server<undefined>;

const LOOK_MS = 1000;
/** Bun's shortest idle timeout, in seconds. */
const SHORTEST_SECONDS = 1;
/** Bun's longest idle timeout in seconds, used if the kernel's table is not available. */
const LONGEST_SECONDS = 255;

/** The maximum number of responses that are kept until the end of a turn: a client that pipelines may start thousands in one read. */
const MAX_RESPONDED = 1024;
/** The approximate memory of a request and its response, in bytes. */
const REQUEST_BYTES = 2200;

/** A client, and the number of bytes that the kernel holds for it. */
class Outgoing implements AcknowledgingConnection {
  readonly seesAcknowledgements = true;
  private held = 0;
  /**
   * Begins with the number of bytes that its kernel may have accepted before the first reading of the table, which may come late on a busy
   * machine.
   */
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

  /** @param timeoutMs the maximum time without progress of a client */
  constructor(private readonly timeoutMs: number) {
    this.everyMs = Math.min(LOOK_MS, timeoutMs / 4);
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
    if (peers.length > 0) resetAtClose(new Set(peers.map(keyOf)));
  }

  private keepLong(responded: readonly Request[]): void {
    for (const request of responded) {
      // Bun forgets the address once the response was sent.
      if (this.server?.requestIP(request) == null) continue;
      const seesTable = process.platform === "linux" && this.timeoutMs > 0;
      this.server.timeout(request, seesTable ? 0 : LONGEST_SECONDS);
      if (!seesTable) continue;
      const client = new Outgoing();
      this.sending.set(request, { client, reader: new SlowReader(client, this.timeoutMs), lookAtMs: 0 });
    }
    if (this.sending.size === 0 || this.timer !== undefined) return;
    this.time.restart();
    this.timer = this.startLooking();
  }

  private startLooking(): NodeJS.Timeout {
    const timer = setTimeout(() => void this.look(), this.everyMs);
    timer.unref();
    return timer;
  }

  private async look(): Promise<void> {
    const { server } = this;
    if (!this.time.count(performance.now(), this.everyMs)) {
      this.timer = this.startLooking();
      return;
    }
    const clients = new Map<string, Sending>();
    for (const [request, sending] of this.sending) {
      const peer = server?.requestIP(request);
      if (peer == null) this.sending.delete(request);
      else clients.set(keyOf(peer), sending);
    }
    if (clients.size > 0) await takeTables(server?.port ?? 0, clients);
    const { now } = this.time;
    const late: Request[] = [];
    for (const [request, sending] of this.sending) {
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
    this.timer = this.sending.size > 0 ? this.startLooking() : undefined;
  }
}

/** Notes how many bytes the kernel holds for each of these clients, by address and port. */
async function takeTables(port: number, clients: ReadonlyMap<string, Sending>): Promise<void> {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  await eachTcpRow(
    ({ text }) => {
      if (!text.includes(local)) return;
      const [, , remote = "", , queues = ""] = text.trim().split(/\s+/);
      const [host = "", remotePort = ""] = remote.split(":");
      const sending = clients.get(keyOf({ address: hostOf(host), port: Number.parseInt(remotePort, 16) }));
      sending?.client.noteHeld(Number.parseInt(queues, 16));
    },
    () => true,
  );
}
