/**
 * Parses and builds the PROXY protocol's header, versions 1 and 2, with which a proxy states its client's address (HAProxy's
 * proxy-protocol.txt). Pure.
 */
import type { ProxyVersion } from "@paceline/wire";
import type { Ends } from "../transport/transport.js";
import { familyOf, plainAddress } from "./trusted-proxies.js";

export type ProxyHeader =
  | { kind: "incomplete" }
  | { kind: "malformed"; problem: string }
  /** The proxy itself is the client, as for a health check. `end` is the position after the header. */
  | { kind: "local"; end: number }
  /** The client's address and the address it connected to; undefined if the proxy does not state them. */
  | { kind: "client"; end: number; ends: Ends | undefined };

/** The longest header of version 1, including its line end (§2.1). */
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
  if (family === "UNKNOWN") return { kind: "client", end, ends: undefined };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isIPv6 : undefined;
  if (isAddress === undefined) return malformed("its protocol is not TCP4, TCP6 or UNKNOWN");
  if (!isAddress(source) || !isAddress(target)) return malformed("an address is not valid");
  if (ports.length !== 2 || !ports.every(isPort)) return malformed("a port is not valid");
  const [port, localPort] = ports.map(Number) as [number, number];
  return { kind: "client", end, ends: { address: source, port, localAddress: target, localPort } };
}

function isIPv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** An address with a zone is refused: a zone has no meaning on another machine. */
function isIPv6(text: string): boolean {
  return /^[0-9a-fA-F:.]{2,45}$/.test(text) && text.includes(":") && URL.canParse(`http://[${text}]/`);
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

/** The number of bytes of the addresses and ports by family (§2.2): IPv4, IPv6, unix sockets. */
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
  // A LOCAL header has no further meaning; the rest is skipped.
  if (command === LOCAL) return bytes.length < end ? INCOMPLETE : { kind: "local", end };
  const addressBytes = ADDRESS_BYTES[family];
  if (addressBytes === undefined) return malformed("its address family is unknown");
  if (family > 0 && transport !== STREAM) return malformed("its transport is not a stream");
  if (end < BINARY_START + addressBytes) return malformed("it is too short for its addresses");
  if (bytes.length < end) return INCOMPLETE;
  return { kind: "client", end, ends: endsOf(bytes, family) };
}

function endsOf(bytes: Buffer, family: number): Ends | undefined {
  if (family !== 1 && family !== 2) return undefined;
  const size = family === 1 ? 4 : 16;
  const ports = BINARY_START + 2 * size;
  return {
    address: addressAt(bytes, BINARY_START, size),
    port: bytes.readUInt16BE(ports),
    localAddress: addressAt(bytes, BINARY_START + size, size),
    localPort: bytes.readUInt16BE(ports + 2),
  };
}

function addressAt(bytes: Buffer, start: number, size: number): string {
  if (size === 4) return bytes.subarray(start, start + size).join(".");
  return Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(start + 2 * at).toString(16)).join(":");
}

const TEXT_UNKNOWN = Buffer.from("PROXY UNKNOWN\r\n");
/** The family is unspecified, and no addresses follow. */
const BINARY_UNKNOWN = Buffer.concat([BINARY_SIGN, Buffer.from([0x21, 0, 0, 0])]);

/** Returns the header for a client with these addresses; `undefined` if they are unknown, as for a unix socket. */
export function proxyHeader(version: ProxyVersion, ends: Ends | undefined): Buffer {
  const source = plainAddress(ends?.address ?? "");
  const target = plainAddress(ends?.localAddress ?? "");
  const family = familyOf(source);
  // A header has addresses of one family.
  if (ends === undefined || familyOf(target) !== family) return version === "v1" ? TEXT_UNKNOWN : BINARY_UNKNOWN;
  const { port, localPort } = ends;
  if (version === "v1")
    return Buffer.from(`PROXY ${family === "ipv4" ? "TCP4" : "TCP6"} ${source} ${target} ${port} ${localPort}\r\n`);
  const addresses = Buffer.concat([addressBytes(source), addressBytes(target), Buffer.alloc(4)]);
  addresses.writeUInt16BE(port, addresses.length - 4);
  addresses.writeUInt16BE(localPort, addresses.length - 2);
  const rest = Buffer.from([0x21, family === "ipv4" ? 0x11 : 0x21, 0, addresses.length]);
  return Buffer.concat([BINARY_SIGN, rest, addresses]);
}

/** @param address in its canonical form */
function addressBytes(address: string): Buffer {
  if (familyOf(address) === "ipv4") return Buffer.from(address.split(".").map(Number));
  const [left = [], right = []] = address.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0");
  const bytes = Buffer.alloc(16);
  for (const [at, group] of [...left, ...zeros, ...right].entries())
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * at);
  return bytes;
}
