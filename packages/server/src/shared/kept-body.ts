/** How a helper in an app learns what a response was made with, though instance and app each load this package for themselves. */

/** Makes a class that stands in the place of the platform's own take that one's objects for its own. */
type Class = abstract new (...args: never[]) => unknown;

/** `x instanceof ours` is what `x instanceof native` is; classes that extend ours judge for themselves. */
export function acceptAll(ours: Class, native: Class): void {
  Object.defineProperty(ours, Symbol.hasInstance, {
    configurable: true,
    value(this: Class, value: unknown): boolean {
      return Function.prototype[Symbol.hasInstance].call(this === ours ? native : this, value);
    },
  });
}

/** A method of the classes that stand in for the platform's Response: the body that was there when it was made. */
export const KEPT_BODY = Symbol.for("paceline.keptBody");

/** Text, bytes or a file. */
export type KeptBody = string | Uint8Array | Blob;

/** What the response was made with; undefined where nobody remembers, it comes block by block, or it was read. */
export function keptBody(response: Response): KeptBody | undefined {
  return (response as { [KEPT_BODY]?(): KeptBody | undefined })[KEPT_BODY]?.();
}

/** Where KeptResponse keeps what it was made with. */
export const BODY = Symbol("body");

function isBlocks(body: unknown): boolean {
  if (typeof body !== "object" || body === null || body instanceof ReadableStream) return false;
  return Symbol.asyncIterator in body && !(body instanceof Blob);
}

/**
 * Lets a helper know the text or bytes of a response without reading them, on Bun: its own Response does not tell whether it was made
 * with a text or a stream, and the field Content-Type of a text is missing from its headers. An instance calls it before it loads the app,
 * a helper when it is set up: a server may stand alone. On Node it does nothing: the lane has a Response of its own there.
 */
export function rememberBodies(): void {
  // On Node a look at Response would load 5 MB.
  if (process.versions.bun === undefined || KEPT_BODY in globalThis.Response.prototype) return;
  const NativeResponse = globalThis.Response;

  /** A Response that remembers a body that is there already, since the platform gives it back only as a stream. */
  class KeptResponse extends NativeResponse {
    [BODY]: unknown = null;

    constructor(body?: unknown, init?: ResponseInit) {
      super(body as never, init);
      if (typeof body === "string" || body instanceof Blob) this[BODY] = body;
      // The bytes are those of now: the app may use its buffer again before they leave.
      else if (body instanceof Uint8Array) this[BODY] = new Uint8Array(body);
      else if (typeof body === "number" || typeof body === "boolean" || typeof body === "bigint")
        this[BODY] = `${body}`;
      // Bun's stream of it would ask for block after block, until it has a good deal, and leave nobody else a turn meanwhile.
      else if (isBlocks(body)) this[BODY] = body;
    }

    [KEPT_BODY](): KeptBody | undefined {
      return this.bodyUsed || isBlocks(this[BODY]) ? undefined : ((this[BODY] as KeptBody | null) ?? undefined);
    }

    override clone(): Response {
      const clone = super.clone() as KeptResponse;
      // Not needed to send it, but to know that it is text. Blocks can be taken once: both have Bun's stream of them.
      if (isBlocks(this[BODY])) this[BODY] = null;
      clone[BODY] = this[BODY];
      return clone;
    }

    static override json(value: unknown, init?: ResponseInit): Response {
      const { status, statusText, headers } = NativeResponse.json(value as never, init);
      return new KeptResponse(JSON.stringify(value), { status, statusText, headers });
    }
  }

  acceptAll(KeptResponse, NativeResponse);
  globalThis.Response = KeptResponse as never;
}
