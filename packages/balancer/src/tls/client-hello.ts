/** Parses a TLS ClientHello (RFC 8446 §4.1.2): the requested name, and the offered protocols. Pure. */

export type ClientHello =
  | { kind: "incomplete" }
  /** The bytes do not begin with a ClientHello. */
  | { kind: "other" }
  /** `name` is in lower case; empty without SNI. `protocols` are in the client's order (RFC 7301). */
  | { kind: "hello"; name: string; protocols: string[] };

/** A ClientHello has one or two packets. A longer one is an attempt to use up memory. In bytes. */
export const MAX_HELLO_BYTES = 16_384 + 2048;

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const RECORD_HEADER = 5;
const MAX_RECORD_BYTES = 16_384;
const SERVER_NAME = 0;
const ALPN = 16;
const MAX_PROTOCOLS = 32;

const INCOMPLETE: ClientHello = { kind: "incomplete" };
const OTHER: ClientHello = { kind: "other" };

export function readClientHello(bytes: Uint8Array): ClientHello {
  const message = handshakeOf(bytes);
  if (!(message instanceof Uint8Array)) return message;
  const reader = new Reader(message);
  // Skips message type, length, version and random.
  reader.skip(4 + 2 + 32);
  reader.take(1); // The session id.
  reader.take(2); // The cipher suites.
  reader.take(1); // The compression methods.
  const hello: ClientHello = { kind: "hello", name: "", protocols: [] };
  if (reader.isOver) return reader.isBad ? OTHER : hello;
  for (const extensions = reader.take(2); !extensions.isOver; ) {
    const type = extensions.number(2);
    const content = extensions.take(2);
    if (extensions.isBad) return OTHER;
    if (type === SERVER_NAME) hello.name = nameIn(content.take(2));
    if (type === ALPN) hello.protocols = protocolsIn(content.take(2));
  }
  return reader.isBad ? OTHER : hello;
}

/** Joins the records of the first handshake message. */
function handshakeOf(bytes: Uint8Array): Uint8Array | ClientHello {
  const parts: Uint8Array[] = [];
  let length = 0;
  let wanted = Number.POSITIVE_INFINITY;
  for (let at = 0; length < wanted; ) {
    if (at >= bytes.length) return INCOMPLETE;
    if (bytes[at] !== HANDSHAKE || (bytes.length > at + 1 && bytes[at + 1] !== 3)) return OTHER;
    if (bytes.length < at + RECORD_HEADER) return INCOMPLETE;
    const size = ((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number);
    if (size === 0 || size > MAX_RECORD_BYTES) return OTHER;
    const part = bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + size);
    parts.push(part);
    length += part.length;
    const first = parts.length === 1 ? part : join(parts);
    if (first.length > 0 && first[0] !== CLIENT_HELLO) return OTHER;
    if (first.length >= 4)
      wanted = 4 + (((first[1] as number) << 16) | ((first[2] as number) << 8) | (first[3] as number));
    if (wanted !== Number.POSITIVE_INFINITY && wanted > MAX_HELLO_BYTES) return OTHER;
    at += RECORD_HEADER + size;
  }
  return join(parts).subarray(0, wanted);
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
}

function nameIn(list: Reader): string {
  while (!list.isOver) {
    const type = list.number(1);
    const name = list.take(2);
    if (type === 0 && !list.isBad) return name.text().toLowerCase().replace(/\.$/, "");
  }
  return "";
}

function protocolsIn(list: Reader): string[] {
  const protocols: string[] = [];
  while (!list.isOver && protocols.length < MAX_PROTOCOLS) {
    const protocol = list.take(1);
    if (list.isBad) return [];
    protocols.push(protocol.text());
  }
  return protocols;
}

/** Reads numbers and vectors from the start to the end. */
class Reader {
  private at = 0;
  /** Whether a length exceeded the remaining bytes. */
  isBad = false;

  constructor(private readonly bytes: Uint8Array) {}

  get isOver(): boolean {
    return this.isBad || this.at >= this.bytes.length;
  }

  skip(count: number): void {
    this.at += count;
    if (this.at > this.bytes.length) this.isBad = true;
  }

  number(size: number): number {
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + (this.bytes[this.at + i] ?? 0);
    this.skip(size);
    return value;
  }

  /** Returns a vector, which starts with its length in `lengthBytes` bytes. */
  take(lengthBytes: number): Reader {
    const length = this.number(lengthBytes);
    const start = this.at;
    this.skip(length);
    return new Reader(this.isBad ? new Uint8Array(0) : this.bytes.subarray(start, this.at));
  }

  text(): string {
    return Buffer.from(this.bytes).toString("latin1");
  }
}
