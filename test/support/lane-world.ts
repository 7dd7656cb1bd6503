/** Both ends of a lane in one process, with a connection between them that the test moves, and the expected results of requests. */
import type { ResponseHead } from "../../packages/balancer/src/http1/response-head.js";
import { LaneUpstreamClient } from "../../packages/balancer/src/upstream-lane/lane-upstream.js";
import type {
  ResponseReceiver,
  UpstreamLoss,
  UpstreamStream,
} from "../../packages/balancer/src/upstreams/upstream-client.js";
import { FakeTransport } from "../../packages/balancer/test/support/fake-transport.js";
import { FORWARDED, requestHead } from "../../packages/balancer/test/support/lane-bench.js";
import { LaneConnection, type LaneServices, loadStreams } from "../../packages/server/src/lane/lane-connection.js";
import type { ResponseReader } from "../../packages/server/src/lane/response-reader.js";
import { RequestCounter } from "../../packages/server/src/process/request-counter.js";
import { DEFAULT_LIMITS } from "../../packages/server/src/shared/limits.js";
import { FakeLaneSocket } from "../../packages/server/test/support/fake-lane-socket.js";
import { FrameDecoder } from "../../packages/wire/src/lane/frame-decoder.js";
import {
  FrameType,
  REQUEST_WINDOW_BYTES,
  RESPONSE_WINDOW_BYTES,
  readUint32,
} from "../../packages/wire/src/lane/protocol.js";

/** The kinds of response of an app: immediately as text or bytes, in blocks, with a failing body, or none. */
export const STYLES = ["text", "bytes", "blocks", "sized blocks", "fails", "throws", "early"] as const;
export type Style = (typeof STYLES)[number];

export interface Plan {
  method: "GET" | "POST" | "PUT";
  uploadBytes: number;
  responseBytes: number;
  blockBytes: number;
  style: Style;
}

const BASE = Buffer.alloc(2 << 20);
for (let i = 0, x = 1; i < BASE.length; i++) {
  x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
  BASE[i] = x >>> 16;
}

/** Returns bytes that are unique for a request and a position. */
function ownBytes(index: number, start: number, end: number): Buffer {
  const from = (index * 7919) % (BASE.length >>> 1);
  return BASE.subarray(from + start, from + end);
}

function check(holds: boolean, problem: string): void {
  if (!holds) throw new Error(problem);
}

/** One request, as both ends know it. */
export class Request implements ResponseReceiver {
  readonly canReassign = false;
  readonly canRunAgain = false;
  readonly mayHaveStartedElsewhere = false;
  readonly request = { describe: () => "GET /", describeLater: () => () => "GET /" };
  stream!: UpstreamStream;
  id = 0;
  state: "under way" | "cancelled" | "ended" | "lost" = "under way";
  status = 0;
  received = 0;
  sent = 0;
  isPaused = false;
  calls = 0;
  /** Bytes of the upload that the app has read. */
  taken = 0;
  /** The number of reads that the app may make; at 0 it waits. */
  private reads = 0;
  private wakeApp: () => void = () => {};
  private isUploadBlocked = false;
  private isUploadEnded = false;

  constructor(
    readonly index: number,
    readonly plan: Plan,
    private readonly world: LaneWorld,
  ) {}

  begin(link: LaneUpstreamClient): void {
    const { method } = this.plan;
    this.stream = link.open(this, method !== "POST");
    this.id = (this.stream as unknown as { id: number }).id;
    if (this.stream.isReady) this.onUpstreamReady();
  }

  onUpstreamReady(): void {
    const { method, uploadBytes } = this.plan;
    const length = method === "GET" ? "" : `Content-Length: ${uploadBytes}\r\n`;
    this.stream.sendHead(
      requestHead(`${method} /${this.index} HTTP/1.1\r\nHost: a\r\n${length}\r\n`),
      FORWARDED,
      false,
    );
    this.upload(0);
    this.stream.flush();
  }

  /** Sends `bytes` more bytes of the client's body, unless the upload is paused. */
  upload(bytes: number): void {
    if (this.state !== "under way" || this.isUploadBlocked || !this.stream.isReady) return;
    const { uploadBytes, method } = this.plan;
    const to = method === "GET" ? 0 : Math.min(uploadBytes, this.sent + bytes);
    if (to > this.sent) {
      const piece = ownBytes(this.index, this.sent, to);
      this.sent = to;
      if (!this.stream.sendBody(piece, 0, piece.length)) this.isUploadBlocked = true;
    }
    if (method !== "GET" && to === uploadBytes && !this.isUploadEnded) {
      this.isUploadEnded = true;
      this.stream.endBody();
    }
    if (!this.stream.flush()) this.isUploadBlocked = true;
  }

  cancel(): void {
    if (this.state !== "under way") return;
    this.state = "cancelled";
    this.stream.cancel();
  }

  setPaused(isPaused: boolean): void {
    if (this.state !== "under way" || this.isPaused === isPaused) return;
    this.isPaused = isPaused;
    if (isPaused) this.stream.pause();
    else this.stream.resume();
  }

  private expectUnderWay(what: string): void {
    check(this.state === "under way", `request ${this.index}, which is ${this.state}, heard ${what}`);
  }

  onResponseHead(head: ResponseHead): void {
    this.expectUnderWay("a head");
    check(this.status === 0, `request ${this.index} heard two heads`);
    this.status = head.status;
    if (head.status !== 200) return;
    const names = Array.from({ length: head.fields.count }, (_, i) => head.fields.value(i));
    check(names.includes(`of ${this.index}`), `request ${this.index} heard the head of another: ${names}`);
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    this.expectUnderWay("a body");
    const to = this.received + end - start;
    if (this.status === 200) {
      const own = ownBytes(this.index, this.received, to);
      check(own.equals(bytes.subarray(start, end)), `request ${this.index} got other bytes at ${this.received}`);
    }
    this.received = to;
  }

  onResponseBatch(): void {}

  onResponseEnd(): void {
    this.expectUnderWay("the end");
    this.state = "ended";
    if (this.status !== 200) return;
    check(this.received === this.plan.responseBytes, `request ${this.index} got ${this.received} bytes`);
  }

  onUpstreamLost(loss: UpstreamLoss): void {
    this.expectUnderWay(`its loss (${loss})`);
    check(this.plan.style === "fails", `request ${this.index} was lost: ${loss}`);
    this.state = "lost";
  }

  onUpstreamDrain(): void {
    this.expectUnderWay("a drain");
    this.isUploadBlocked = false;
  }

  // Called for the app:

  /** Lets the app read this many more times. */
  read(times: number): void {
    this.reads += times;
    this.wakeApp();
  }

  async handle(request: globalThis.Request): Promise<Response> {
    const { plan, index } = this;
    this.calls++;
    check(this.calls === 1, `request ${index} was begun twice`);
    this.world.expectBegun(this);
    const headers = { "x-request": `of ${index}` };
    if (plan.style === "throws") throw new Error("as planned");
    if (plan.method !== "GET" && plan.style !== "early") await this.readUpload(request);
    switch (plan.style) {
      case "text":
      case "early":
      case "bytes":
        return new Response(Uint8Array.from(ownBytes(index, 0, plan.responseBytes)), { headers });
      case "fails":
      case "blocks":
        return new Response(this.blocks(), { headers });
      case "sized blocks":
        return new Response(this.blocks(), { headers: { ...headers, "content-length": String(plan.responseBytes) } });
    }
  }

  private async readUpload(request: globalThis.Request): Promise<void> {
    const reader = request.body?.getReader();
    for (;;) {
      while (this.reads === 0) {
        await new Promise<void>((resolve) => {
          this.wakeApp = resolve;
        });
      }
      this.reads--;
      const piece = await reader?.read();
      if (piece?.value === undefined) break;
      const to = this.taken + piece.value.length;
      const own = ownBytes(this.index, this.taken, to);
      check(own.equals(piece.value), `the app got other bytes of request ${this.index} at ${this.taken}`);
      this.taken = to;
    }
    check(this.taken === this.plan.uploadBytes, `the app got ${this.taken} bytes of request ${this.index}`);
  }

  private blocks(): ReadableStream<Uint8Array> {
    const { responseBytes, blockBytes, style } = this.plan;
    let at = 0;
    return new ReadableStream({
      pull: (controller) => {
        if (at < responseBytes) {
          const to = Math.min(responseBytes, at + blockBytes);
          controller.enqueue(Uint8Array.from(ownBytes(this.index, at, to)));
          at = to;
        } else if (style === "fails") controller.error(new Error("as planned"));
        else controller.close();
      },
    });
  }
}

/** Compares the bytes sent per stream with the bytes granted, from the sender's view. */
class Windows {
  readonly outstanding = new Map<number, number>();

  constructor(private readonly most: number) {}

  sent(id: number, bytes: number): void {
    const sum = (this.outstanding.get(id) ?? 0) + bytes;
    this.outstanding.set(id, sum);
    check(sum <= this.most, `${sum} bytes of stream ${id} that nobody granted`);
  }

  granted(id: number, bytes: number): void {
    this.outstanding.set(id, (this.outstanding.get(id) ?? 0) - bytes);
  }
}

export class LaneWorld {
  readonly requests: Request[] = [];
  readonly link: LaneUpstreamClient;
  private readonly transport = new FakeTransport();
  private readonly socket = new FakeLaneSocket();
  private readonly instance: LaneConnection;
  private readonly counter: RequestCounter;
  private readonly problems: string[] = [];
  /** A failed check whose exception would not reach the test. */
  private failure: unknown;
  /** Bytes that are on their way. */
  private up: Buffer = Buffer.alloc(0);
  private down: Buffer = Buffer.alloc(0);
  private readonly upWindows = new Windows(REQUEST_WINDOW_BYTES);
  private readonly downWindows = new Windows(RESPONSE_WINDOW_BYTES);
  /** Decoders for the bytes each end wrote and received. */
  private readonly seen = {
    upSent: new FrameDecoder(),
    downSent: new FrameDecoder(),
    upGot: new FrameDecoder(),
    downGot: new FrameDecoder(),
  };
  private readonly begun = new Set<number>();
  private readonly neverBegun = new Set<number>();
  private readonly connection: ReturnType<FakeTransport["accept"]>;

  /** @param highWater the number of bytes that the balancer's transport queues before it reports that it is full */
  constructor(responses: ResponseReader, highWater: number) {
    this.link = new LaneUpstreamClient(
      {
        transport: this.transport,
        notStartedUnsafeMax: 4,
        onBusy: () => {},
        onProblem: (message) => void this.problems.push(message),
      },
      "instance.sock",
      1024,
      () => {},
    );
    this.counter = new RequestCounter(() => this.instance.active);
    const services: LaneServices = {
      requests: {
        handler: (request) => {
          const asked = this.requests[Number(new URL(request.url).pathname.slice(1))] as Request;
          return asked.handle(request).catch((error: unknown) => {
            if (!isPlanned(error)) this.failure ??= error;
            throw error;
          });
        },
        responses,
        counter: this.counter,
      },
      load: loadStreams,
      limits: DEFAULT_LIMITS,
      active: () => this.instance.active,
      isLeaving: () => false,
      onError: (error) => void (isPlanned(error) || this.problems.push(String(error))),
      onRead: () => {},
      onGone: () => {},
    };
    this.instance = new LaneConnection(this.socket, services, 0);
    this.socket.owner = this.instance;
    this.open({ method: "GET", uploadBytes: 0, responseBytes: 0, blockBytes: 1, style: "bytes" });
    this.connection = this.transport.accept();
    this.connection.highWater = highWater;
    this.moveUp(Number.POSITIVE_INFINITY);
    this.moveDown(Number.POSITIVE_INFINITY);
  }

  open(plan: Plan): Request | undefined {
    if (!this.link.hasRoom(plan.method !== "POST")) return undefined;
    const request = new Request(this.requests.length, plan, this);
    this.requests.push(request);
    request.begin(this.link);
    return request;
  }

  /** Puts the output of both ends on its way. */
  private collect(): void {
    const { seen, upWindows, downWindows } = this;
    const up = this.connection.take();
    this.up = Buffer.concat([this.up, up]);
    seen.upSent.read(up, { onFrame: () => {}, onBody: (id, _, start, end) => upWindows.sent(id, end - start) });
    const down = this.socket.take();
    this.down = Buffer.concat([this.down, down]);
    seen.downSent.read(down, {
      onFrame: (type, id, bytes, start) => {
        if (type === FrameType.STARTED) this.begun.add(id);
        if (type !== FrameType.CANCELLED || bytes[start] !== 0) return;
        this.neverBegun.add(id);
        const calls = this.requests.find((request) => request.id === id)?.calls ?? 0;
        check(calls === 0, `stream ${id} was said not to have begun, and had`);
      },
      onBody: (id, _, start, end) => downWindows.sent(id, end - start),
    });
  }

  /** Checks when a handler is called that the kernel has accepted its STARTED if required, and that its cancellation was not confirmed. */
  expectBegun({ id, index, plan }: Request): void {
    this.collect();
    check(!this.neverBegun.has(id), `request ${index} was begun after it was said that it would not be`);
    check(plan.method !== "POST" || this.begun.has(id), `request ${index} was begun before that was said`);
  }

  /** Moves this many bytes to the instance. */
  moveUp(bytes: number): void {
    this.collect();
    const piece = Buffer.from(this.up.subarray(0, bytes));
    if (piece.length === 0) return;
    this.up = this.up.subarray(piece.length);
    this.seen.upGot.read(piece, {
      onFrame: (type, id, at, start) =>
        type === FrameType.WINDOW && this.downWindows.granted(id, readUint32(at, start)),
      onBody: () => {},
    });
    this.instance.onData(piece);
    this.collect();
  }

  /** Moves this many bytes to the balancer. */
  moveDown(bytes: number): void {
    this.collect();
    const piece = Buffer.from(this.down.subarray(0, bytes));
    if (piece.length === 0) return;
    this.down = this.down.subarray(piece.length);
    this.seen.downGot.read(piece, {
      onFrame: (type, id, at, start) => type === FrameType.WINDOW && this.upWindows.granted(id, readUint32(at, start)),
      onBody: () => {},
    });
    this.connection.owner.onData(piece);
    this.collect();
  }

  /** Lets the kernel accept this many more bytes from the balancer and from the instance. */
  makeRoom(up: number, down: number): void {
    this.connection.drain(up);
    this.socket.drain(down);
  }

  async turn(): Promise<void> {
    await new Promise(setImmediate);
    this.expectNoProblem();
  }

  /** Removes all obstacles: moves everything until all requests have ended. */
  async settle(): Promise<void> {
    for (let turns = 0; this.isUnsettled; turns++) {
      this.makeRoom(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
      for (const request of this.requests) {
        request.setPaused(false);
        request.upload(100_000);
        request.read(Number.POSITIVE_INFINITY);
      }
      this.moveUp(Number.POSITIVE_INFINITY);
      this.moveDown(Number.POSITIVE_INFINITY);
      await this.turn();
      check(
        turns < 2000,
        `these never ended: ${this.requests.filter(isUnderWay).map(describe)}; ${this.instance.active} at work`,
      );
    }
  }

  private get isUnsettled(): boolean {
    this.collect();
    const { requests, instance, up, down } = this;
    return requests.some(isUnderWay) || instance.active > 0 || up.length + down.length > 0;
  }

  expectNoProblem(): void {
    if (this.failure !== undefined) throw this.failure;
    check(this.problems.length === 0, this.problems.join("; "));
  }
}

function isUnderWay({ state }: Request): boolean {
  return state === "under way";
}

/** An app that reads the upload of a disconnected client gets an error, too. */
function isPlanned(error: unknown): boolean {
  return error instanceof Error && ["as planned", "the client has left"].includes(error.message);
}

function describe({ index, plan, sent, taken, received, status }: Request): string {
  return JSON.stringify({ index, plan, sent, taken, received, status });
}
