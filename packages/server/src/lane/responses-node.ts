/** Reads responses on Node, whose Response costs more than everything else. It is created only if the app uses more of it. */
import { fieldLinesOf } from "@paceline/wire/lane/response-head";
import { toBytes } from "../shared/blocks.js";
import { acceptAll, KEPT_BODY, type KeptBody } from "../shared/kept-body.js";
import type { ResponseBody, ResponseReader } from "./response-reader.js";
import { lazyWrapper } from "./web-classes.js";

const NativeResponse = globalThis.Response;
const NativeHeaders = globalThis.Headers;

type Fields = [string, string][];

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Bytes that cannot end the line (RFC 9110 §5.5). */
const VALUE = /^[\t\x20-\xff]*$/;
/** Statuses without a body. */
const NULL_BODY = new Set([101, 103, 204, 205, 304]);

/** Acts as a Response for `instanceof` and for every member of the platform's class. */
class LaneResponse {
  #made: Response | undefined = undefined;
  #ownHeaders: Headers | undefined = undefined;
  readonly #ownStatus: number = 200;
  readonly #ownStatusText: string = "";
  readonly #kept: ResponseBody = null;
  readonly #isForm: boolean = false;
  readonly #fields: Fields = NO_FIELDS;

  constructor(body?: unknown, init?: ResponseInit) {
    const { status = 200, statusText = "", headers } = init ?? {};
    const isInit = init === undefined || init === null || typeof init === "object";
    const fields = plainFields(headers);
    const isKept = body === undefined || body === null || isKeepable(body);
    const isPlain = Number.isInteger(status) && status >= 200 && status <= 599 && VALUE.test(statusText);
    if (!isInit || fields === undefined || !isKept || !isPlain || (body != null && NULL_BODY.has(status))) {
      // The platform handles it, or reports the error.
      this.#made = new NativeResponse(body as never, init);
      this.#isForm = body instanceof FormData;
      return;
    }
    // Copies the bytes: the app may reuse its buffer before they are sent.
    this.#kept = isBytes(body) ? new Uint8Array(toBytes(body)) : ((body as ResponseBody | undefined) ?? null);
    this.#fields = fields;
    this.#ownStatus = status;
    this.#ownStatusText = statusText;
  }

  static json(...args: [value: unknown, init?: ResponseInit]): Response {
    const [value, init = {}] = args;
    if (!isInitRecord(init)) return NativeResponse.json(...args);
    const fields = plainFields(init.headers);
    const text = fields === undefined ? undefined : JSON.stringify(value);
    if (fields === undefined || text === undefined) return NativeResponse.json(...args);
    const headers = fields.some(([name]) => name === "content-type") ? fields : [...fields, JSON_TYPE];
    return new LaneResponse(text, { ...init, headers }) as unknown as Response;
  }

  static redirect(url: string | URL, status?: number): Response {
    return NativeResponse.redirect(String(url), status);
  }

  static error(): Response {
    return NativeResponse.error();
  }

  get status(): number {
    if (!(#made in this)) return ofPlatform(this, "status") as never;
    return this.#made?.status ?? this.#ownStatus;
  }

  get statusText(): string {
    if (!(#made in this)) return ofPlatform(this, "statusText") as never;
    return this.#made?.statusText ?? this.#ownStatusText;
  }

  get ok(): boolean {
    if (!(#made in this)) return ofPlatform(this, "ok") as never;
    const status = this.#made?.status ?? this.#ownStatus;
    return status >= 200 && status <= 299;
  }

  get headers(): Headers {
    if (!(#made in this)) return ofPlatform(this, "headers") as never;
    if (this.#made !== undefined) return this.#made.headers;
    if (this.#ownHeaders === undefined) {
      this.#ownHeaders = new NativeHeaders(this.#fields);
      if (typeof this.#kept === "string" && !this.#ownHeaders.has("content-type")) this.#ownHeaders.set(...TEXT_TYPE);
    }
    return this.#ownHeaders;
  }

  get bodyUsed(): boolean {
    if (!(#made in this)) return ofPlatform(this, "bodyUsed") as never;
    return this.#made?.bodyUsed ?? false;
  }

  get body(): ReadableStream<Uint8Array> | null {
    if (!(#made in this)) return ofPlatform(this, "body") as never;
    if (this.#made === undefined && this.#kept === null) return null;
    return this.native().body as ReadableStream<Uint8Array> | null;
  }

  clone(): Response {
    if (!(#made in this)) return NativeResponse.prototype.clone.call(this) as never;
    const kept = this.#kept;
    if (this.#made !== undefined || !(kept === null || typeof kept === "string"))
      return this.native().clone() as unknown as Response;
    const [status, statusText] = [this.#ownStatus, this.#ownStatusText];
    const headers = this.#ownHeaders === undefined ? this.#fields : [...this.#ownHeaders];
    return new LaneResponse(kept, { status, statusText, headers }) as unknown as Response;
  }

  static isOne(value: unknown): value is LaneResponse {
    return typeof value === "object" && value !== null && #made in value;
  }

  /** Returns the platform's object, which then replaces this one. */
  native(): Response {
    if (this.#made === undefined) {
      const [status, statusText] = [this.#ownStatus, this.#ownStatusText];
      const headers = this.#ownHeaders ?? this.#fields;
      this.#made = new NativeResponse(this.#kept as never, { status, statusText, headers }) as unknown as Response;
      this.#ownHeaders = undefined;
    }
    return this.#made;
  }

  /** Returns the original body while no platform object exists; otherwise undefined. */
  keptBody(): ResponseBody | undefined {
    if (this.#made === undefined) return this.#kept;
    return this.#isForm && this.#made.body !== null ? formBlocks(this.#made.body) : undefined;
  }

  [KEPT_BODY](): KeptBody | undefined {
    const kept = this.keptBody();
    return typeof kept === "string" || kept instanceof Uint8Array ? kept : undefined;
  }

  get hasSeenHeaders(): boolean {
    return this.#ownHeaders !== undefined;
  }

  /** Returns the current fields. */
  currentFields(): Iterable<readonly [string, string]> {
    return (this.#made?.headers ?? this.#ownHeaders ?? this.#fields) as Iterable<readonly [string, string]>;
  }
}

/** The members also accept the platform's own objects, as from fetch. */
const ofPlatform = (self: object, key: string): unknown => Reflect.get(NativeResponse.prototype, key, self);

/** Yields a form's blocks without a cancel: Node 26 creates them ahead, and a cancel causes an error that cannot be caught. */
function formBlocks(body: ReadableStream<Uint8Array>): AsyncIterable<unknown> {
  const reader = body.getReader();
  return { [Symbol.asyncIterator]: () => ({ next: () => reader.read() as Promise<IteratorResult<unknown>> }) };
}

const NO_FIELDS: Fields = [];
const JSON_TYPE: [string, string] = ["content-type", "application/json"];
const TEXT_TYPE: [string, string] = ["content-type", "text/plain;charset=UTF-8"];

const isBytes = (body: unknown) => body instanceof ArrayBuffer || ArrayBuffer.isView(body);

function isKeepable(body: unknown): boolean {
  if (typeof body === "string" || isBytes(body) || body instanceof ReadableStream) return true;
  // Only the platform turns a Blob's type into a field.
  return typeof body === "object" && Symbol.asyncIterator in (body as object) && !(body instanceof Blob);
}

/** Returns lower-case names with valid values; undefined if the platform must check them. */
function plainFields(headers: unknown): Fields | undefined {
  if (headers === undefined) return NO_FIELDS;
  if (typeof headers !== "object" || headers === null) return undefined;
  if (headers instanceof NativeHeaders) return [...headers];
  const pairs = Array.isArray(headers) ? headers : isRecord(headers) ? Object.entries(headers) : undefined;
  if (pairs === undefined) return undefined;
  const fields: Fields = [];
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    const [name, value] = pair;
    if (typeof name !== "string" || typeof value !== "string" || !TOKEN.test(name) || !VALUE.test(value)) {
      return undefined;
    }
    fields.push([name.toLowerCase(), value.trim()]);
  }
  return fields;
}

const isInitRecord = (init: unknown): init is ResponseInit =>
  typeof init === "object" && init !== null && Object.getPrototypeOf(init) === Object.prototype;

function isRecord(value: object): value is Record<string, unknown> {
  const prototype = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && Object.getOwnPropertySymbols(value).length === 0;
}

/** Called once, before the app is loaded. */
export function responsesOnNode(): ResponseReader {
  lazyWrapper(LaneResponse.prototype, NativeResponse.prototype, (self) =>
    LaneResponse.isOne(self) ? self.native() : self,
  );
  Object.defineProperty(LaneResponse, "name", { value: "Response" });
  acceptAll(LaneResponse, NativeResponse);
  globalThis.Response = LaneResponse as never;
  return {
    isResponse: (value): value is Response => value instanceof NativeResponse,
    fields(response) {
      if (!LaneResponse.isOne(response) || overrides(response, "headers"))
        return fieldLinesOf(response.headers as never);
      const lines = fieldLinesOf(response.currentFields());
      // The app has accessed the fields, including the type. If the type is missing, the app has removed it.
      if (response.hasSeenHeaders) lines.hasContentType = true;
      return lines;
    },
    body(response) {
      const kept = LaneResponse.isOne(response) && !overrides(response, "body") ? response.keptBody() : undefined;
      return kept === undefined ? (response.body as ReadableStream<Uint8Array> | null) : kept;
    },
  };
}

/** Whether a subclass has a getter of its own, which Node's servers read, too. */
function overrides(response: LaneResponse, key: "headers" | "body"): boolean {
  for (let at: object = response; at !== LaneResponse.prototype; at = Object.getPrototypeOf(at)) {
    if (at !== response && Object.hasOwn(at, key)) return true;
  }
  return false;
}
