/** Reads responses on Bun, whose Response costs as much as everything else. The same one again is only created if the app uses more of it. */
import {
  type FieldLines,
  fieldLines,
  pairsOf,
  plainFieldLines,
  repeatedFieldLines,
} from "@paceline/wire/lane/response-head";
import { acceptAll, BODY, FIELDS, KEPT_BODY, type KeptBody, rememberBodies } from "../shared/kept-body.js";
import type { ResponseBody, ResponseReader } from "./response-reader.js";
import { lazyWrapper } from "./web-classes.js";

type ResponseClass = typeof Response;

/** A Response with `BODY` and `FIELDS`. */
let Remembering: ResponseClass;

/** Shown by console.log. */
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** A Response with a text and the same plain fields as the last one; acts as one for `instanceof` and for every member. */
class LazyResponse {
  [BODY]: string;
  [FIELDS]: FieldLines | undefined;
  private made: Response | undefined = undefined;

  constructor(
    text: string,
    private readonly lines: FieldLines,
    private readonly ownStatus: number,
  ) {
    this[BODY] = text;
    this[FIELDS] = lines;
  }

  /** Returns the platform's object, which then replaces this one. */
  native(): Response {
    if (this.made === undefined) {
      this.made = new Remembering(this[BODY], { status: this.ownStatus, headers: pairsOf(this.lines.text) });
      // They may be changed from now on.
      this[FIELDS] = undefined;
    }
    return this.made;
  }

  get status(): number {
    return this.ownStatus;
  }

  get ok(): boolean {
    return this.ownStatus <= 299;
  }

  get statusText(): string {
    return "";
  }

  get headers(): Headers {
    return this.native().headers;
  }

  get bodyUsed(): boolean {
    return this.made?.bodyUsed ?? false;
  }

  clone(): Response {
    return this.native().clone() as never;
  }

  [KEPT_BODY](): KeptBody | undefined {
    return this.bodyUsed ? undefined : this[BODY];
  }

  [INSPECT](): Response {
    return this.native();
  }
}

function unwrapped<T>(value: T): T {
  return (value instanceof LazyResponse ? value.native() : value) as T;
}

/** Whether responses may be lazy: from the first request on, while the app has no server of its own. */
let mayBeLazy = false;
let hasOwnServer = false;

/** The runtime's own functions and servers accept only its own objects. */
function watchBun(): void {
  const { serve, S3Client } = Bun;
  Bun.serve = ((options: never) => {
    hasOwnServer = true;
    mayBeLazy = false;
    return serve(options);
  }) as never;
  unwrapArguments(Bun, ["write"]);
  for (const owner of [Blob.prototype, S3Client, S3Client.prototype, Object.getPrototypeOf(S3Client.file("a"))])
    unwrapArguments(owner, ["write"]);
  unwrapArguments(HTMLRewriter.prototype, ["transform"]);
  unwrapArguments(WebAssembly, ["compileStreaming", "instantiateStreaming"]);
  // The input of a program may be a response.
  unwrapArguments(Bun, ["spawn", "spawnSync"], (argument: { stdin?: unknown } | undefined) =>
    argument?.stdin instanceof LazyResponse ? { ...argument, stdin: argument.stdin.native() } : argument,
  );
}

function unwrapArguments(
  owner: object,
  names: readonly string[],
  unwrap: (argument: never) => unknown = unwrapped,
): void {
  const functions = owner as Record<string, (...args: unknown[]) => unknown>;
  for (const name of names) {
    const original = functions[name];
    if (original === undefined) continue;
    functions[name] = function (this: unknown, ...args: unknown[]) {
      return original.apply(this, (args as never[]).map(unwrap));
    };
  }
}

const isOrdinary = (status: number) =>
  Number.isInteger(status) && status >= 200 && status <= 599 && status !== 204 && status !== 205 && status !== 304;

/** After this many responses in a row whose fields differed, the fields are only compared at one in `TRY_EVERY`. */
const MAX_MISSES = 16;
const TRY_EVERY = 32;
let misses = 0;

function lazyResponse(body: unknown, init: ResponseInit | undefined): LazyResponse | undefined {
  if (!mayBeLazy || typeof body !== "string" || typeof init !== "object" || init === null) return undefined;
  const { status = 200, statusText = "", headers } = init;
  if (statusText !== "" || !isOrdinary(status)) return undefined;
  if (misses > MAX_MISSES && ++misses % TRY_EVERY > 0) return undefined;
  const lines = repeatedFieldLines(headers);
  misses = lines === undefined ? misses + 1 : 0;
  return lines === undefined ? undefined : new LazyResponse(body, lines, status);
}

/** The constructor that apps call. */
function OwnResponse(body?: unknown, init?: ResponseInit): object {
  if (new.target === (OwnResponse as unknown)) {
    const lazy = lazyResponse(body, init);
    if (lazy !== undefined) return lazy;
    return new Remembering(body as never, unwrapped(init));
  }
  // A subclass, or a call without `new`, which the platform refuses.
  return Reflect.construct(Remembering, [body, unwrapped(init)], new.target as never);
}

/** The Content-Type of the platform's `Response.json`. */
let jsonType = "";

/** Response.json, without the platform's object if possible: this would turn the value into text, too. */
function json(value: unknown, init: ResponseInit = {}): object {
  const { status = 200, statusText = "", headers } = init ?? {};
  const text = mayBeLazy && headers === undefined && isOrdinary(status) ? JSON.stringify(value) : undefined;
  if (text === undefined) return Remembering.json(value, init);
  const fields = { "content-type": jsonType };
  return new (OwnResponse as never as ResponseClass)(text, { status, statusText, headers: fields });
}

/** Called once, before the app is loaded. */
export function responsesOnBun(): ResponseReader {
  rememberBodies(plainFieldLines);
  Remembering = globalThis.Response;
  // The platform's own class: `instanceof` is slower with the replacement.
  const NativeResponse: ResponseClass = Object.getPrototypeOf(Remembering);
  const { prototype } = Remembering;
  lazyWrapper(LazyResponse.prototype, NativeResponse.prototype, (self) => self.native());
  Object.setPrototypeOf(LazyResponse.prototype, prototype);
  Object.setPrototypeOf(OwnResponse, Remembering);
  Object.defineProperty(OwnResponse, "name", { value: "Response" });
  Object.defineProperty(OwnResponse, "json", { value: json, configurable: true, writable: true });
  OwnResponse.prototype = prototype;
  Object.assign(prototype, { constructor: OwnResponse });
  Object.assign(LazyResponse.prototype, { constructor: OwnResponse });
  acceptAll(OwnResponse as never, NativeResponse);
  globalThis.Response = OwnResponse as never;
  watchBun();
  return {
    onFirstRequest() {
      jsonType = NativeResponse.json({}).headers.get("content-type") ?? "";
      mayBeLazy = !hasOwnServer;
    },
    isResponse: (value): value is Response => value instanceof NativeResponse,
    fields: (response) =>
      (response as { [FIELDS]?: FieldLines })[FIELDS] ??
      fieldLines(response.headers.toJSON() as Record<string, string | string[]>),
    body(response) {
      const kept = (response as { [BODY]?: unknown })[BODY];
      if (kept === null || kept === undefined || response.bodyUsed) return response.body;
      return kept as ResponseBody;
    },
  };
}
