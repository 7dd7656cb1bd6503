/** The Request object of a lane's request, built lazily: method, URL, headers and a whole body are read from the received bytes. */
import type { LaneRequestHead } from "@paceline/wire/lane/request-head";
import { INSPECT, lazyWrapper, NATIVE, nativeRequest } from "./web-classes.js";

const NativeHeaders = globalThis.Headers;

/** A name that can be searched for directly. The platform handles all others. */
const PLAIN_NAME = /^[a-z0-9-]+$/;

function isPlain(name: unknown): name is string {
  // The platform joins cookies in its own way.
  return typeof name === "string" && PLAIN_NAME.test(name) && name !== "cookie";
}

/** Acts as Headers for `instanceof` and for iteration. */
class LaneHeaders {
  #made: Headers | undefined = undefined;

  readonly #head: LaneRequestHead;

  constructor(head: LaneRequestHead) {
    this.#head = head;
  }

  get(name: string): string | null {
    if (this.#made === undefined && isPlain(name)) return this.#head.get(name);
    return this.native().get(name);
  }

  has(name: string): boolean {
    if (this.#made === undefined && isPlain(name)) return this.#head.get(name) !== null;
    return this.native().has(name);
  }

  /** Returns the platform's object, which then replaces this one. */
  native(): Headers {
    this.#made ??= new NativeHeaders(this.#head.pairs());
    return this.#made;
  }

  [INSPECT](): Headers {
    return this.native();
  }

  /** Called once, before the first instance. */
  static setUp(): void {
    lazyWrapper(LaneHeaders.prototype, NativeHeaders.prototype, (self) => self.native());
    Object.assign(LaneHeaders.prototype, { constructor: NativeHeaders });
  }
}

/** The parts of a request in addition to its head. */
export interface RequestSource {
  /** Takes the whole body if it has arrived; call it once. */
  takeWhole(): Uint8Array | undefined;
  /** Returns the body as a stream; null if there is none. */
  stream(): ReadableStream<Uint8Array> | null;
  /** Returns a signal that aborts when the client leaves. */
  signal(): AbortSignal;
}

/** Acts as a Request for `instanceof`; `web-classes.ts` lets `new Request(it)` and `fetch(it)` accept it. */
class LaneRequest {
  #made: Request | undefined = undefined;
  #ownUrl: string | undefined = undefined;
  #ownHeaders: LaneHeaders | undefined = undefined;
  /** Whether the body was read without the platform's object. */
  #isBodyTaken = false;

  readonly #head: LaneRequestHead;
  readonly #source: RequestSource;

  constructor(head: LaneRequestHead, source: RequestSource) {
    this.#head = head;
    this.#source = source;
  }

  /** Returns the platform's object for this request, which then replaces this one. */
  native(): Request {
    if (this.#made !== undefined) return this.#made;
    const [head, source] = [this.#head, this.#source];
    if (this.#isBodyTaken) return this.madeRead();
    const { method } = head;
    const init: RequestInit & { duplex?: "half" } = { method, headers: this.headers as never };
    if (!head.isWhole && method !== "GET" && method !== "HEAD") {
      init.body = (source.takeWhole() ?? source.stream()) as NonNullable<RequestInit["body"]>;
      init.duplex = "half";
    }
    init.signal = source.signal();
    this.#made = new (nativeRequest())(this.url, init);
    return this.#made;
  }

  [NATIVE](): Request {
    return this.native();
  }

  [INSPECT](): Request {
    return this.native();
  }

  /** Creates an object whose body was read: it behaves like the platform's own. */
  private madeRead(): Request {
    const { method } = this.#head;
    const { url } = this;
    const source = this.#source;
    this.#made = new (nativeRequest())(url, {
      method,
      headers: this.headers as never,
      body: "read",
      signal: source.signal(),
    });
    void this.#made.text();
    return this.#made;
  }

  get method(): string {
    return this.#head.method;
  }

  get url(): string {
    this.#ownUrl ??= urlOf(this.#head);
    return this.#ownUrl;
  }

  get headers(): Headers {
    this.#ownHeaders ??= new LaneHeaders(this.#head);
    return this.#ownHeaders as unknown as Headers;
  }

  get signal(): AbortSignal {
    return this.#made?.signal ?? this.#source.signal();
  }

  get bodyUsed(): boolean {
    return this.#isBodyTaken || (this.#made?.bodyUsed ?? false);
  }

  get body(): ReadableStream<Uint8Array> | null {
    // Without a body, no object is needed.
    return this.#made === undefined && this.#head.isWhole ? null : (this.native().body as ReadableStream<Uint8Array>);
  }

  text(): Promise<string> {
    const bytes = this.take();
    return bytes === undefined ? this.native().text() : Promise.resolve(decodeText(bytes));
  }

  json(): Promise<unknown> {
    const bytes = this.take();
    if (bytes === undefined) return this.native().json();
    try {
      return Promise.resolve(JSON.parse(decodeText(bytes)));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    const bytes = this.take();
    if (bytes === undefined) return this.native().arrayBuffer();
    return Promise.resolve(Uint8Array.from(bytes).buffer);
  }

  /** Takes the whole body if nobody needs the platform's object. */
  private take(): Uint8Array | undefined {
    if (this.#made !== undefined || this.#isBodyTaken) return undefined;
    if (this.#head.isWhole) return NOTHING;
    if (this.#head.method === "GET" || this.#head.method === "HEAD") return undefined;
    const bytes = this.#source.takeWhole();
    this.#isBodyTaken = bytes !== undefined;
    return bytes;
  }
}

const NOTHING = new Uint8Array(0);
const decoder = new TextDecoder();

function decodeText(bytes: Uint8Array): string {
  return bytes.length === 0 ? "" : decoder.decode(bytes);
}

/** A host that the URL parser does not change. */
const PLAIN_HOST = /^[a-z0-9.-]+(?::(?!(?:80|443)$)[1-9]\d{0,3})?$/;
const PLAIN_TARGET =
  /^\/[A-Za-z0-9\-_~/=&+,;:@!$()*?%]*(?:\.[A-Za-z0-9\-_~=&+,;:@!$()*?%][A-Za-z0-9\-_~/=&+,;:@!$()*?%]*)*$/;

function urlOf(head: LaneRequestHead): string {
  const { target } = head;
  const forwardedHost = head.isElsewhere ? head.get("x-forwarded-host") : undefined;
  const host = forwardedHost || head.host || "localhost";
  const isHttps = head.isElsewhere && head.get("x-forwarded-proto") === "https";
  const url = `${isHttps ? "https" : "http"}://${host}${target.startsWith("/") ? target : `/${target}`}`;
  // Letters in the last label are required, because a number there may be an address in another notation.
  const isPlain = PLAIN_HOST.test(host) && /[a-z][a-z-]*(?::|$)/.test(host) && PLAIN_TARGET.test(target);
  return isPlain ? url : new URL(url).href;
}

let isSetUp = false;

/** Creates the Request of a head. */
export function makeRequest(head: LaneRequestHead, source: RequestSource): Request {
  // Only when needed, because everything that an idle process touches stays in its memory.
  if (!isSetUp) setUp();
  return new LaneRequest(head, source) as unknown as Request;
}

function setUp(): void {
  isSetUp = true;
  LaneHeaders.setUp();
  lazyWrapper(LaneRequest.prototype, nativeRequest().prototype, (self) => self.native());
  Object.assign(LaneRequest.prototype, { constructor: globalThis.Request });
}
