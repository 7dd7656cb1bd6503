/** Holds bodies to `bodyTimeoutMs` on Bun.serve, whose own timer cuts whoever sends less than 16 KB a second, however steadily. */

const MAX_LOOK_MS = 1000;

/** A request whose app waits for a piece of its body. */
interface Wait {
  readonly request: Request;
  since: number;
}

export class BunBodyWatch {
  private readonly waits = new Set<Wait>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly timeoutMs: number,
    /** No piece of its body has come for that long. */
    private readonly onLate: (request: Request) => void,
  ) {}

  /**
   * The same request with a body that is watched while the app waits for it.
   *
   * @param original what Bun knows it by.
   */
  watch(request: Request, original: Request): Request {
    const { body } = request;
    if (body === null || this.timeoutMs === 0) return request;
    const wait: Wait = { request: original, since: 0 };
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    const watched = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          reader ??= body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
          this.begin(wait);
          try {
            const { done, value } = await reader.read();
            if (done) controller.close();
            else controller.enqueue(value);
          } finally {
            this.waits.delete(wait);
          }
        },
        cancel: (reason) => {
          this.waits.delete(wait);
          return reader?.cancel(reason);
        },
      },
      { highWaterMark: 0 },
    );
    return new Request(request, { body: watched, duplex: "half" } as RequestInit);
  }

  private begin(wait: Wait): void {
    wait.since = performance.now();
    this.waits.add(wait);
    this.timer ??= setInterval(() => this.look(), Math.min(MAX_LOOK_MS, this.timeoutMs));
  }

  private look(): void {
    const late = performance.now() - this.timeoutMs;
    for (const wait of this.waits) {
      if (wait.since > late) continue;
      this.waits.delete(wait);
      this.onLate(wait.request);
    }
    if (this.waits.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
