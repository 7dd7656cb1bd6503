/** Parses the PROXY protocol's header, version 1 and 2, with which a proxy states its client's address (HAProxy's proxy-protocol.txt). Pure. */

export type ProxyHeader =
  | { kind: "incomplete" }
  | { kind: "malformed"; problem: string }
  /** The proxy itself is the client, as for a health check. `end` is the position after the header. */
  | { kind: "local"; end: number }
  /** The client's address; undefined if the proxy does not say it. */
  | { kind: "client"; end: number; address: string | undefined };

/** The longest header of version 1, with its line end (§2.1). */
const MAX_TEXT_BYTES = 107;
/** The longest header of version 2 that is read, with the proxy's extensions. */
const MAX_BINARY_BYTES = 4096;
/** The fixed part of version 2. */
const BINARY_START = 16;

const TEXT_SIGN = Buffer.from("PROXY ");
const BINARY_SIGN = Buffer.from("\r\n\r\n\0\r\nQUIT\n");

const INCOMPLETE: ProxyHeader = { kind: "incomplete" };

export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (bytes.length === 0) return INCOMPLETE;
  const isBinary = bytes[0] === BINARY_SIGN[0];
  const sign = isBinary ? BINARY_SIGN : TEXT_SIGN;
  const known = Math.min(bytes.length, sign.length);
  if (bytes.compare(sign, 0, known, 0, known) !== 0) return malformed("the connection begins with something else");
  if (bytes.length < sign.length) return INCOMPLETE;
  return isBinary ? readBinary(bytes) : readText(bytes);
}

function malformed(problem: string): ProxyHeader {
  return { kind: "malformed", problem };
}

function readText(bytes: Buffer): ProxyHeader {
  const lineEnd = bytes.indexOf("\r\n");
  if (lineEnd < 0 || lineEnd + 2 > MAX_TEXT_BYTES)
    return lineEnd < 0 && bytes.length < MAX_TEXT_BYTES ? INCOMPLETE : malformed("its line is too long");
  const end = lineEnd + 2;
  const [family, source = "", target = "", ...ports] = bytes.toString("latin1", TEXT_SIGN.length, lineEnd).split(" ");
  if (family === "UNKNOWN") return { kind: "client", end, address: undefined };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isIPv6 : undefined;
  if (isAddress === undefined) return malformed("its protocol is not TCP4, TCP6 or UNKNOWN");
  if (!isAddress(source) || !isAddress(target)) return malformed("an address is not valid");
  if (ports.length !== 2 || !ports.every(isPort)) return malformed("a port is not valid");
  return { kind: "client", end, address: source };
}

function isIPv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** Without a zone, which means nothing on another machine. */
function isIPv6(text: string): boolean {
  return /^[0-9a-fA-F:.]{2,45}$/.test(text) && text.includes(":") && URL.canParse(`http://[${text}]/`);
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

/** Bytes of the addresses and ports by family (§2.2): IPv4, IPv6, unix sockets. */
const ADDRESS_BYTES = [0, 12, 36, 216] as const;
const [LOCAL, PROXY] = [0, 1];
const STREAM = 1;

function readBinary(bytes: Buffer): ProxyHeader {
  if (bytes.length < BINARY_START) return INCOMPLETE;
  const command = (bytes[12] as number) & 15;
  if ((bytes[12] as number) >> 4 !== 2 || command > PROXY) return malformed("its version or command is unknown");
  const end = BINARY_START + bytes.readUInt16BE(14);
  if (end > MAX_BINARY_BYTES) return malformed(`it is longer than ${MAX_BINARY_BYTES} bytes`);
  const [family, transport] = [(bytes[13] as number) >> 4, (bytes[13] as number) & 15];
  // The rest says nothing then.
  if (command === LOCAL) return bytes.length < end ? INCOMPLETE : { kind: "local", end };
  const addressBytes = ADDRESS_BYTES[family];
  if (addressBytes === undefined) return malformed("its address family is unknown");
  if (family > 0 && transport !== STREAM) return malformed("it is not about a stream");
  if (end < BINARY_START + addressBytes) return malformed("it is too short for its addresses");
  if (bytes.length < end) return INCOMPLETE;
  return { kind: "client", end, address: sourceOf(bytes, family) };
}

function sourceOf(bytes: Buffer, family: number): string | undefined {
  if (family === 1) return bytes.subarray(BINARY_START, BINARY_START + 4).join(".");
  if (family !== 2) return undefined;
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(BINARY_START + 2 * at).toString(16));
  return groups.join(":");
}
