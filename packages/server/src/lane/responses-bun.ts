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
import { INSPECT } from "./web-classes.js";

type ResponseClass = typeof Response;

/** A Response with `BODY` and `FIELDS`. */
let Remembering: ResponseClass;

/** The members of the platform's class, as `Remembering` has them. */
const inherited: Record<string, (this: object, ...args: unknown[]) => unknown> = {};

/**
 * A Response with a text and the same plain fields as the last one. Its members are those of `Remembering`, whose prototype `setUp` gives
 * functions that accept both. An app that lists or copies its properties sees none.
 */
class LazyResponse {
  readonly #text: string;
  readonly #lines: FieldLines;
  readonly #status: number;
  #made: Response | undefined = undefined;

  constructor(text: string, lines: FieldLines, status: number) {
    this.#text = text;
    this.#lines = lines;
    this.#status = status;
  }

  static is(value: unknown): value is LazyResponse {
    return typeof value === "object" && value !== null && #text in value;
  }

  /** Returns the platform's object, which then replaces this one. */
  static native(self: LazyResponse): Response {
    self.#made ??= new Remembering(self.#text, { status: self.#status, headers: pairsOf(self.#lines.text) });
    return self.#made;
  }

  /** Returns the fields; undefined if the app may have changed them. */
  static lines(self: LazyResponse): FieldLines | undefined {
    return self.#made === undefined ? self.#lines : undefined;
  }

  static text(self: LazyResponse): string {
    return self.#text;
  }

  /** The getters that need no platform object. */
  static readonly getters = {
    status(this: object): unknown {
      return #text in this ? this.#status : inherited.status?.call(this);
    },
    ok(this: object): unknown {
      return #text in this ? this.#status <= 299 : inherited.ok?.call(this);
    },
    statusText(this: object): unknown {
      return #text in this ? "" : inherited.statusText?.call(this);
    },
    bodyUsed(this: object): unknown {
      return #text in this ? (this.#made?.bodyUsed ?? false) : inherited.bodyUsed?.call(this);
    },
  } as Record<string, (this: object) => unknown>;

  /** Gives the prototype of `Remembering` every member of the platform's class. */
  static setUp(prototype: object, platform: object): void {
    for (const key of Object.keys(platform)) {
      const descriptor = Object.getOwnPropertyDescriptor(platform, key) as PropertyDescriptor;
      const { get, value } = Object.getOwnPropertyDescriptor(prototype, key) ?? descriptor;
      const original: (typeof inherited)[string] = get ?? value;
      inherited[key] = original;
      const own =
        LazyResponse.getters[key] ??
        function (this: object, ...args: unknown[]) {
          return original.apply(LazyResponse.is(this) ? LazyResponse.native(this) : this, args);
        };
      Object.defineProperty(prototype, key, { ...descriptor, ...(get === undefined ? { value: own } : { get: own }) });
    }
    Object.setPrototypeOf(LazyResponse.prototype, prototype);
  }

  [KEPT_BODY](): KeptBody | undefined {
    return this.#made?.bodyUsed ? undefined : this.#text;
  }

  [INSPECT](): Response {
    return LazyResponse.native(this);
  }
}

function unwrapped<T>(value: T): T {
  return (LazyResponse.is(value) ? LazyResponse.native(value) : value) as T;
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
  // The values in a shell's template.
  Bun.$ = new Proxy(Bun.$, { apply: (target, self, args) => Reflect.apply(target, self, args.map(unwrapped)) });
  // The input of a program may be a response.
  unwrapArguments(Bun, ["spawn", "spawnSync"], (argument: { stdin?: unknown } | undefined) =>
    LazyResponse.is(argument?.stdin) ? { ...argument, stdin: unwrapped(argument.stdin) } : argument,
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

const isPlain = (init: unknown): init is ResponseInit =>
  typeof init === "object" && init !== null && Object.getPrototypeOf(init) === Object.prototype;

/** After this many responses in a row whose fields differed, the fields are only compared at one in `TRY_EVERY`. */
const MAX_MISSES = 16;
const TRY_EVERY = 32;
let misses = 0;

function lazyResponse(body: unknown, init: unknown): LazyResponse | undefined {
  if (!mayBeLazy || typeof body !== "string" || !isPlain(init)) return undefined;
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
function json(...args: [value?: unknown, init?: ResponseInit]): object {
  const [value, init = NO_INIT] = args;
  if (!mayBeLazy || args.length === 0 || !isPlain(init)) return Remembering.json(...(args as [unknown]));
  const { status = 200, statusText = "", headers } = init;
  const text = headers === undefined && isOrdinary(status) ? JSON.stringify(value) : undefined;
  if (text === undefined) return Remembering.json(...(args as [unknown]));
  const fields = { "content-type": jsonType };
  return new (OwnResponse as never as ResponseClass)(text, { status, statusText, headers: fields });
}

const NO_INIT: ResponseInit = {};

/** Called once, before the app is loaded. */
export function responsesOnBun(): ResponseReader {
  rememberBodies(plainFieldLines);
  Remembering = globalThis.Response;
  // The platform's own class: `instanceof` is slower with the replacement.
  const NativeResponse: ResponseClass = Object.getPrototypeOf(Remembering);
  const { prototype } = Remembering;
  LazyResponse.setUp(prototype, NativeResponse.prototype);
  Object.setPrototypeOf(OwnResponse, Remembering);
  Object.defineProperty(OwnResponse, "name", { value: "Response" });
  for (const name of ["error", "redirect"] as const) {
    const value = NativeResponse[name];
    Object.defineProperty(OwnResponse, name, { value, configurable: true, enumerable: true, writable: true });
  }
  Object.defineProperty(OwnResponse, "json", { enumerable: true, value: json, configurable: true, writable: true });
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
      (LazyResponse.is(response) ? LazyResponse.lines(response) : (response as { [FIELDS]?: FieldLines })[FIELDS]) ??
      fieldLines(response.headers.toJSON() as Record<string, string | string[]>),
    body(response) {
      const kept = LazyResponse.is(response) ? LazyResponse.text(response) : (response as { [BODY]?: unknown })[BODY];
      if (kept === null || kept === undefined || response.bodyUsed) return response.body;
      return kept as ResponseBody;
    },
  };
}
