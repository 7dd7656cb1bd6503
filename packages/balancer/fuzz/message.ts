/** A parser's view of a byte stream, in a form that two parsers can be compared by. */

export type Field = readonly [name: string, value: string];

/** A request or a response; all text is latin1, a character per byte. */
export interface SeenMessage {
  /** Its start in the stream, including empty lines before it. */
  start: number;
  /** For a request, else empty. */
  method: string;
  /** For a request, as received or as forwarded by the balancer. */
  target: string;
  /** For a request, as forwarded by the balancer; undefined if the parser does not report it. */
  host: string | undefined;
  /** For a response, else 0. */
  status: number;
  reason: string;
  minorVersion: number;
  keepAlive: boolean;
  fields: Field[];
  body: string;
  /** The end of its body was seen. */
  isComplete: boolean;
}

/** How reading a stream ended. */
export type ReadingEnd =
  /** All bytes were used, between messages or within one. */
  | "open"
  /** The last message ends the connection, or upgrades it to another protocol. */
  | "closed"
  /** Bytes after the messages are not a message. */
  | "refused";

export interface Reading {
  messages: SeenMessage[];
  end: ReadingEnd;
  /** The end of the bytes our parser used: a refused part begins here. */
  used: number;
  /** For `refused`: our status, or Node's error code. */
  why: string;
}

/** Returns the values of a field, ignoring case. */
export function valuesOf(message: SeenMessage, name: string): string[] {
  return message.fields.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
}

/** Cuts a stream at these places, in any order; a place past the end wraps round. */
export function cut(stream: string, cuts: readonly number[]): Buffer[] {
  const bytes = Buffer.from(stream, "latin1");
  const places = [...new Set(cuts.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length]
    .map((end, i) => bytes.subarray(places[i - 1] ?? 0, end))
    .filter((piece) => piece.length > 0);
}

/** Cuts into single bytes. */
export function cutEverywhere(stream: string): Buffer[] {
  return Array.from(Buffer.from(stream, "latin1"), (byte) => Buffer.of(byte));
}
