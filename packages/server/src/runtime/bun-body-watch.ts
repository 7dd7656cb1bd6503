/** Holds bodies to `bodyTimeoutMs` on Bun.serve, whose own timer cuts whoever sends less than 16 KB a second, however steadily. */
import { type BodyWait, BodyWaits } from "./body-waits.js";

export class BunBodyWatch {
  private readonly waits: BodyWaits<Request>;

  /** @param onLate no piece of its body has come for that long. */
  constructor(timeoutMs: number, onLate: (request: Request) => void) {
    this.waits = new BodyWaits(timeoutMs, onLate);
  }

  /**
   * The same request with a body that is watched while the app waits for it.
   *
   * @param original what Bun knows it by.
   */
  watch(request: Request, original: Request): Request {
    const { body } = request;
    if (body === null || this.waits.timeoutMs === 0) return request;
    const wait: BodyWait<Request> = { owner: original, since: 0 };
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    const watched = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          reader ??= body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
          this.waits.begin(wait);
          try {
            const { done, value } = await reader.read();
            if (done) controller.close();
            else controller.enqueue(value);
          } finally {
            this.waits.end(wait);
          }
        },
        cancel: (reason) => {
          this.waits.end(wait);
          return reader?.cancel(reason);
        },
      },
      { highWaterMark: 0 },
    );
    return new Request(request, { body: watched, duplex: "half" } as RequestInit);
  }
}
