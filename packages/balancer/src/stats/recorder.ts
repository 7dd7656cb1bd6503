/** Records requests for the supervisor: all of them while `paceline record` runs, and sampled ones as spans. Records no secrets. */
import { RECORDED_MASK, type RecordedRequest, type RecordedSpan } from "@paceline/wire";
import type { SavedHead } from "../exchange/saved-head.js";
import type { Finished } from "./access-log.js";

/** How long a request may wait in milliseconds, so that several are sent together. */
const SEND_REQUESTS_AFTER_MS = 100;
const SEND_SPANS_AFTER_MS = 250;
/** A message with this many requests, even with the longest paths, is shorter than the limit for a line of the control channel. */
const MAX_REQUESTS = 150;
const MAX_SPANS = 100;
/** Further spans in a second are counted as lost, because a client may mark all of its requests as sampled. */
const MAX_SPANS_PER_SECOND = 500;
const MAX_PATH = 1024;
const MAX_SPAN_PATH = 512;
/** Longer than all known methods. */
const METHOD = /^[A-Z]{1,20}$/;

/** Parts of a path that are at least this long, such as tokens in links, are not recorded, unless they are words with dashes. */
const LONGEST_PART = 32;
const WORDS = /^[A-Z]?[a-z]{0,19}(?:-[A-Z]?[a-z]{0,19})+(?:\.[a-z]{1,5})?$/;

/** Returns false if the supervisor does not read fast enough. */
type Send<Item> = (items: Item[], lost: number) => boolean;

/** Collects requests that are sent together, and counts those that cannot be sent. */
class Batch<Item> {
  lost = 0;
  private items: Item[] = [];
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly max: number,
    private readonly sendAfterMs: number,
    private readonly send: Send<Item>,
  ) {}

  add(item: Item): void {
    this.items.push(item);
    if (this.items.length >= this.max) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), this.sendAfterMs);
  }

  /** Sends the remaining items. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.items.length === 0) return;
    const { items, lost } = this;
    this.items = [];
    this.lost = 0;
    if (!this.send(items, lost)) this.lost = lost + items.length;
  }
}

/** Method, path, time, status, size and duration of each request. */
export class Recorder {
  private readonly batch: Batch<RecordedRequest>;

  constructor(send: Send<RecordedRequest>) {
    this.batch = new Batch(MAX_REQUESTS, SEND_REQUESTS_AFTER_MS, send);
  }

  /** Records a finished request; `status` is the client's, or 499 if it disconnected before. */
  request(head: SavedHead, status: number, bytes: number, ms: number): void {
    const [method = "", received = ""] = head.requestLine(MAX_PATH + 1);
    // A part that was cut could be the beginning of a token.
    const target = received.length > MAX_PATH ? received.replace(/[^/?&;]*$/, RECORDED_MASK) : received;
    if (!METHOD.test(method) || !target.startsWith("/")) return;
    const at = Math.round(Date.now() - ms);
    this.batch.add({ at, method, path: withoutSecrets(target), status, bytes, ms: Math.round(ms * 1e3) / 1e3 });
  }

  flush(): void {
    this.batch.flush();
  }
}

/** Records sampled requests, which their traceparent marks; the supervisor exports them. */
export class SpanRecorder {
  private readonly batch: Batch<RecordedSpan>;
  private second = 0;
  private inSecond = 0;

  constructor(send: Send<RecordedSpan>) {
    this.batch = new Batch(MAX_SPANS, SEND_SPANS_AFTER_MS, send);
  }

  /** Records a finished request, if it is sampled. */
  request(head: SavedHead, finished: Finished): void {
    const { identity } = head;
    if (identity === undefined || !identity.isSampled) return;
    const now = performance.now();
    if (now - this.second >= 1000) {
      this.second = now;
      this.inSecond = 0;
    }
    if (++this.inSecond > MAX_SPANS_PER_SECOND) {
      this.batch.lost++;
      return;
    }
    const [method = "", target = ""] = head.requestLine(MAX_SPAN_PATH);
    const { startedAt, queuedAt, foundAt, sentAt, firstByteAt, handlerMicros } = finished;
    const since = (time: number) => Math.max(0, Math.round((time - startedAt) * 1e3) / 1e3);
    const ms = since(now);
    this.batch.add({
      ...identity.trace(),
      at: Date.now() - ms,
      ms,
      ...(queuedAt > 0 && { queuedMs: since(queuedAt) }),
      ...(foundAt > 0 && { foundMs: since(foundAt) }),
      ...(sentAt > 0 && { sentMs: since(sentAt) }),
      ...(firstByteAt > 0 && { firstByteMs: since(firstByteAt) }),
      ...(handlerMicros >= 0 && { handlerMs: handlerMicros / 1000 }),
      method: METHOD.test(method) ? method : "_OTHER",
      path: withoutSecrets(target.replace(/[?#].*/s, "")) || "/",
      ...{ status: finished.status, requestBytes: finished.requestBytes, bytes: finished.bodyBytes },
      retries: finished.retries,
      ...(finished.pool !== undefined && { pool: finished.pool }),
      ...(finished.instance !== undefined && { instance: finished.instance }),
      ...{ outcome: finished.outcome, phase: finished.phase },
    });
  }

  flush(): void {
    this.batch.flush();
  }
}

/** Returns a request's target in the form that may be recorded: with the names in its query, without their values. */
export function withoutSecrets(target: string): string {
  const [path = "", query] = target.split("#", 1)[0]?.split(/\?(.*)/s) ?? [];
  const masked = path.split("/").map(maskedPart).join("/");
  if (query === undefined) return masked;
  const names = query.split("&").map((pair) => {
    const [name = "", value] = pair.split(/=(.*)/s);
    // A text without "=" may be a value.
    if (value === undefined) return "";
    return `${name.length >= LONGEST_PART ? RECORDED_MASK : name}=`;
  });
  return `${masked}?${names.filter((name) => name !== "").join("&")}`;
}

/** Masks a part of a path. Its parameters, such as `;jsessionid=`, keep their names. */
function maskedPart(part: string): string {
  const [name = "", ...parameters] = part.split(/;|%3b/i);
  const isSecret = name.length >= LONGEST_PART && !WORDS.test(name);
  const names = parameters.flatMap((parameter) => {
    const [key = "", value] = parameter.split(/(?:=|%3d)(.*)/is);
    return value === undefined || key.length >= LONGEST_PART ? [] : [`;${key}=`];
  });
  return `${isSecret ? RECORDED_MASK : name}${names.join("")}`;
}
