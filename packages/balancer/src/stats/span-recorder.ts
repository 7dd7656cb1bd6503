/** Records sampled requests for the supervisor, which exports them as spans: those whose traceparent says so. */
import type { RecordedSpan } from "@paceline/wire";
import type { SavedHead } from "../exchange/saved-head.js";
import type { Finished } from "./access-log.js";
import { withoutSecrets } from "./recorder.js";

/** How long a request may wait, so that several are sent together. */
const SEND_AFTER_MS = 250;
const MAX_SPANS = 100;
/** Further ones in this time are counted as lost: a client may say that all of its requests are sampled. */
const MAX_PER_SECOND = 500;
const MAX_PATH = 512;
const METHOD = /^[A-Z]{1,20}$/;

export class SpanRecorder {
  private spans: RecordedSpan[] = [];
  private lost = 0;
  private timer: NodeJS.Timeout | undefined;
  private second = 0;
  private inSecond = 0;

  /** @param send returns false if the supervisor does not read fast enough */
  constructor(private readonly send: (spans: RecordedSpan[], lost: number) => boolean) {}

  /** Records a finished request, if it is sampled. */
  request(head: SavedHead, finished: Finished): void {
    const { identity } = head;
    if (identity === undefined || !identity.isSampled) return;
    const now = performance.now();
    if (now - this.second >= 1000) {
      this.second = now;
      this.inSecond = 0;
    }
    if (++this.inSecond > MAX_PER_SECOND) {
      this.lost++;
      return;
    }
    const [method = "", target = ""] = head.requestLine(MAX_PATH);
    const { startedAt, queuedAt, foundAt, sentAt, firstByteAt, handlerMicros } = finished;
    const since = (time: number) => Math.max(0, Math.round((time - startedAt) * 1e3) / 1e3);
    const ms = since(now);
    this.spans.push({
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
    if (this.spans.length >= MAX_SPANS) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), SEND_AFTER_MS);
  }

  /** Sends what is left. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.spans.length === 0) return;
    const { spans, lost } = this;
    this.spans = [];
    this.lost = 0;
    if (!this.send(spans, lost)) this.lost = lost + spans.length;
  }
}
