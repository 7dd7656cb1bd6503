/** What a parser saw in a stream of bytes, in a form in which two parsers can be compared. */

export type Field = readonly [name: string, value: string];

/** A request or a response; all text is latin1, a character a byte. */
export interface SeenMessage {
  /** Where in the stream it begins, empty lines before it included. */
  start: number;
  /** Of a request, else empty. */
  method: string;
  /** Of a request, as it came or as the balancer relays it. */
  target: string;
  /** Of a request, as the balancer relays it; undefined where the parser does not tell. */
  host: string | undefined;
  /** Of a response, else 0. */
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
  /** All bytes were used, between messages or in the middle of one. */
  | "open"
  /** The last message said that nothing follows it, or its connection becomes another protocol's. */
  | "closed"
  /** What followed the messages is no message. */
  | "refused";

export interface Reading {
  messages: SeenMessage[];
  end: ReadingEnd;
  /** Up to where our parser used the stream: what it refused begins here. */
  used: number;
  /** Of `refused`: a status of ours, or Node's code for it. */
  why: string;
}

/** Values of a field, whatever the case of its name. */
export function valuesOf(message: SeenMessage, name: string): string[] {
  return message.fields.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
}

/** Cuts a stream at these places, given in any order; a place past the end wraps round. */
export function cut(stream: string, cuts: readonly number[]): Buffer[] {
  const bytes = Buffer.from(stream, "latin1");
  const places = [...new Set(cuts.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length]
    .map((end, i) => bytes.subarray(places[i - 1] ?? 0, end))
    .filter((piece) => piece.length > 0);
}

/** Every byte by itself. */
export function cutEverywhere(stream: string): Buffer[] {
  return Array.from(Buffer.from(stream, "latin1"), (byte) => Buffer.of(byte));
}
