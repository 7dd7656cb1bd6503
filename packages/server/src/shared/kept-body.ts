/** Lets an app's helper see how a response was created, although server and app have separate copies of this package. */
import { toBytes } from "./blocks.js";

type Class = abstract new (...args: never[]) => unknown;

/** Makes `x instanceof ours` the same as `x instanceof native`. Subclasses of ours keep their own check. */
export function acceptAll(ours: Class, native: Class): void {
  Object.defineProperty(ours, Symbol.hasInstance, {
    configurable: true,
    value(this: Class, value: unknown): boolean {
      return Function.prototype[Symbol.hasInstance].call(this === ours ? native : this, value);
    },
  });
}

/** A method of our Response classes that returns the body with which they were created. */
export const KEPT_BODY = Symbol.for("paceline.keptBody");

/** Text, bytes or a file. */
export type KeptBody = string | Uint8Array | Blob;

/** Returns the body with which a response was created; undefined if unknown, a stream, or already read. */
export function keptBody(response: Response): KeptBody | undefined {
  return (response as { [KEPT_BODY]?(): KeptBody | undefined })[KEPT_BODY]?.();
}

/** The property of KeptResponse with its original body. Apps do not see it: a log of all properties would contain bodies. */
export const BODY = Symbol("body");

/**
 * The property of KeptResponse with its original fields, in the form that the `readFields` of `rememberBodies` returns; undefined if they
 * may have changed.
 */
export const FIELDS = Symbol("fields");

function isBlocks(body: unknown): boolean {
  if (typeof body !== "object" || body === null || body instanceof ReadableStream) return false;
  return Symbol.asyncIterator in body && !(body instanceof Blob);
}

/**
 * Lets helpers read a response's text or bytes directly on Bun, whose Response does not distinguish a text from a stream, and omits the
 * Content-Type of a text. An instance calls this before it loads the app; a helper calls it for a standalone server. It does nothing on
 * Node, where the lane has its own Response.
 *
 * @param readFields reads a response's fields from the object it is created with, if possible: reading them from the platform costs more
 */
export function rememberBodies(readFields: (headers: unknown) => unknown = () => undefined): void {
  // On Node, an access to Response would load 5 MB.
  if (process.versions.bun === undefined || KEPT_BODY in globalThis.Response.prototype) return;
  const NativeResponse = globalThis.Response;

  /** A Response that remembers a body in memory, because the platform returns it only as a stream. */
  class KeptResponse extends NativeResponse {
    #body: unknown = null;
    #fields: unknown;

    constructor(body?: unknown, init?: ResponseInit) {
      super(body as never, init);
      // Bodies of other types have their own fields.
      if (typeof body === "string" || body instanceof Uint8Array) this.#fields = readFields(init?.headers);
      // A file in S3 is sent as a redirect without a body.
      if (typeof body === "string" || (body instanceof Blob && !("presign" in body))) this.#body = body;
      // Copies the bytes: the app may reuse its buffer before they are sent.
      else if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) this.#body = new Uint8Array(toBytes(body));
      else if (body instanceof URLSearchParams) this.#body = Buffer.from(String(body));
      else if (typeof body === "number" || typeof body === "boolean" || typeof body === "bigint")
        this.#body = `${body}`;
      // Keeps an iterable of blocks: Bun's stream of it would read many blocks in a row and delay everything else.
      else if (isBlocks(body)) this.#body = body;
    }

    get [BODY](): unknown {
      return this.#body;
    }

    get [FIELDS](): unknown {
      return this.#fields;
    }

    override get headers(): Headers {
      // The fields may be changed from now on. A borrowed getter also reads the platform's own objects.
      if (#fields in this) this.#fields = undefined;
      return super.headers;
    }

    [KEPT_BODY](): KeptBody | undefined {
      return this.bodyUsed || isBlocks(this.#body) ? undefined : ((this.#body as KeptBody | null) ?? undefined);
    }

    override clone(): Response {
      const clone = super.clone() as Response;
      if (!(#body in this)) return clone;
      // The clone needs the body only to show that it is text. Blocks can be read only once, so both objects use Bun's stream of them.
      if (isBlocks(this.#body)) this.#body = null;
      // The platform's clone is not a KeptResponse.
      Object.defineProperty(clone, BODY, { value: this.#body, writable: true });
      return clone;
    }

    static override json(...args: [value: unknown, init?: ResponseInit]): Response {
      const { status, statusText, headers } = NativeResponse.json(...(args as [never]));
      return new KeptResponse(JSON.stringify(args[0]), { status, statusText, headers }) as never;
    }
  }

  acceptAll(KeptResponse, NativeResponse);
  globalThis.Response = KeptResponse as never;
}
