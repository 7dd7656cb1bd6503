/** The balancer's end of a lane on a fake transport, with requests and their results. */
import { ForwardedFields } from "../../src/http1/forwarded.js";
import { RequestHead } from "../../src/http1/request-head.js";
import type { ResponseHead } from "../../src/http1/response-head.js";
import { LaneUpstreamClient } from "../../src/upstream-lane/lane-upstream.js";
import type { ResponseReceiver, UpstreamLoss, UpstreamStream } from "../../src/upstreams/upstream-client.js";
import { WorkMeter } from "../../src/upstreams/work-meter.js";
import { FakeTransport } from "./fake-transport.js";

export const HEAD_LIMITS = { maxHeadBytes: 65_536, maxHeaderFields: 100, maxBodyBytes: 100_000_000 };
export const FORWARDED = new ForwardedFields([
  ["X-Forwarded-For", "10.0.0.7"],
  ["X-Forwarded-Proto", "http"],
  ["Forwarded", "for=10.0.0.7;proto=http"],
]);

/** Parses the head of a request from HTTP/1.1 text. */
export function requestHead(text: string): RequestHead {
  const head = new RequestHead(HEAD_LIMITS);
  const bytes = Buffer.from(text, "latin1");
  if (head.parse(bytes, 0, bytes.length) !== bytes.length) throw new Error(`no head: ${text}`);
  return head;
}

/** One request and its events. */
export class Asked implements ResponseReceiver {
  readonly request = { describe: () => this.target, describeLater: () => () => this.target };

  readonly stream: UpstreamStream;
  canReassign = true;
  canRunAgain = true;
  isEnded = false;
  loss: UpstreamLoss | undefined;
  readonly heads: { status: number; contentLength: number; framing: string; reason: string; fields: string[][] }[] = [];
  body = "";
  drains = 0;
  onHead: () => void = () => {};

  constructor(
    link: LaneUpstreamClient,
    private readonly text: string,
    readonly mayHaveStartedElsewhere = false,
  ) {
    this.stream = link.open(this, requestHead(text).isIdempotent);
    if (this.stream.isReady) this.onUpstreamReady();
  }

  private get target(): string {
    return this.text.split(" HTTP/", 1)[0] ?? "";
  }

  onUpstreamReady(): void {
    const head = requestHead(this.text);
    this.stream.sendHead(head, FORWARDED, false);
    if (head.framing === "none") this.stream.endBody();
    this.stream.flush();
  }

  onResponseHead(head: ResponseHead): void {
    const fields: string[][] = [];
    for (let i = 0; i < head.fields.count; i++) {
      const at = (start: number, end: number) => Buffer.from(head.bytes.subarray(start, end)).toString("latin1");
      fields.push([at(head.fields.nameStart(i), head.fields.nameEnd(i)), head.fields.value(i)]);
    }
    const reason = Buffer.from(head.bytes.subarray(head.reasonStart, head.reasonEnd)).toString("latin1");
    const { status, contentLength, framing } = head;
    this.heads.push({ status, contentLength, framing, reason, fields });
    this.onHead();
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    this.body += Buffer.from(bytes.subarray(start, end)).toString("latin1");
  }

  onResponseBatch(): void {}

  onResponseEnd(): void {
    this.isEnded = true;
  }

  onUpstreamLost(loss: UpstreamLoss): void {
    this.loss = loss;
  }

  onUpstreamDrain(): void {
    this.drains++;
  }
}

export class LaneBench {
  readonly transport = new FakeTransport();
  readonly problems: string[] = [];
  rooms = 0;
  /** The number of busy reports. */
  busy = 0;
  readonly link: LaneUpstreamClient;
  readonly work = new WorkMeter();
  readonly unread = { spareBytes: Number.POSITIVE_INFINITY };

  constructor(notStartedUnsafeMax = 1, maxRequests = 1024, path = "instance.sock") {
    const services = {
      transport: this.transport,
      notStartedUnsafeMax,
      unread: this.unread,
      onBusy: () => void this.busy++,
      onProblem: (message: string) => void this.problems.push(message),
    };
    this.link = new LaneUpstreamClient(services, path, maxRequests, () => void this.rooms++, this.work);
  }

  ask(text: string, mayHaveStartedElsewhere = false): Asked {
    return new Asked(this.link, text, mayHaveStartedElsewhere);
  }
}

/** Resolves at the end of this turn of the event loop, when its output was sent. */
export const turnEnd = (): Promise<void> => new Promise((resolve) => void setImmediate(() => setImmediate(resolve)));
