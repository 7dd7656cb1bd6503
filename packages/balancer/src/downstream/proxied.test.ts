/** PROXY headers: the meaning of each, byte by byte, and what happens to a connection without a valid one. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { Deadlines } from "../deadlines.js";
import { proxyHeader, readProxyHeader } from "../http1/proxy-header.js";
import { NO_OWNER } from "../transport/transport.js";
import { ClosedClients, ProxiedClient } from "./proxied.js";

const SIGN = "\r\n\r\n\0\r\nQUIT\n";

/** A header of version 2. */
function binary(versionCommand: number, family: number, rest: Buffer, length = rest.length): Buffer {
  const start = Buffer.from([versionCommand, family, length >> 8, length & 255]);
  return Buffer.concat([Buffer.from(SIGN, "latin1"), start, rest]);
}

const IPV4 = Buffer.from([192, 0, 2, 9, 127, 0, 0, 1, 0x30, 0x39, 0, 80]);
const IPV6 = Buffer.concat([
  Buffer.from("20010db8000000000000000000000009", "hex"),
  Buffer.alloc(16, 1),
  Buffer.alloc(4),
]);
const client = (address: string | undefined) => ({
  kind: "client",
  ends: address && expect.objectContaining({ address }),
});

const GOOD: [name: string, header: Buffer | string, said: object][] = [
  ["version 1, IPv4", "PROXY TCP4 192.0.2.9 127.0.0.1 12345 80\r\n", client("192.0.2.9")],
  ["version 1, IPv6", "PROXY TCP6 2001:db8::9 ::1 12345 80\r\n", client("2001:db8::9")],
  [
    "version 1, the longest",
    `PROXY TCP6 ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535\r\n`,
    client(`${"ffff:".repeat(7)}ffff`),
  ],
  ["version 1, unknown", "PROXY UNKNOWN\r\n", client(undefined)],
  [
    "version 1, unknown with more",
    `PROXY UNKNOWN ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535\r\n`,
    client(undefined),
  ],
  ["version 2, IPv4", binary(0x21, 0x11, IPV4), client("192.0.2.9")],
  ["version 2, IPv6", binary(0x21, 0x21, IPV6), client("2001:db8:0:0:0:0:0:9")],
  ["version 2, a unix socket", binary(0x21, 0x31, Buffer.alloc(216, 47)), client(undefined)],
  ["version 2, unspecified", binary(0x21, 0x00, Buffer.alloc(0)), client(undefined)],
  ["version 2, with extensions", binary(0x21, 0x11, Buffer.concat([IPV4, Buffer.alloc(1000, 4)])), client("192.0.2.9")],
  ["version 2, local", binary(0x20, 0x00, Buffer.alloc(0)), { kind: "local" }],
  ["version 2, local with addresses", binary(0x20, 0x11, IPV4), { kind: "local" }],
];

const BAD: [name: string, header: Buffer | string][] = [
  ["a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["a request that begins alike", "PROPFIND / HTTP/1.1\r\n"],
  ["an empty line before a request", "\r\nGET / HTTP/1.1\r\n"],
  ["TLS", "\x16\x03\x01\x02\x00\x01"],
  ["another protocol", "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n"],
  ["small letters", "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n"],
  ["no addresses", "PROXY TCP4\r\n"],
  ["an address too few", "PROXY TCP4 1.1.1.1 1 2\r\n"],
  ["a port too many", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"],
  ["two spaces", "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"],
  ["a zero before a number", "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n"],
  ["a number above 255", "PROXY TCP4 256.1.1.1 2.2.2.2 1 2\r\n"],
  ["a hexadecimal address", "PROXY TCP4 0x1.1.1.1 2.2.2.2 1 2\r\n"],
  ["a port above 65535", "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n"],
  ["the other family", "PROXY TCP4 ::1 ::1 1 2\r\n"],
  ["IPv4 as IPv6", "PROXY TCP6 1.1.1.1 ::1 1 2\r\n"],
  ["a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"],
  ["a bracket", "PROXY TCP6 [::1] ::1 1 2\r\n"],
  ["a line without an end", `PROXY UNKNOWN${" ".repeat(100)}`],
  ["a line that is too long", `PROXY UNKNOWN${" ".repeat(93)}\r\n`],
  ["version 3", binary(0x31, 0x11, IPV4)],
  ["another command", binary(0x22, 0x11, IPV4)],
  ["another family", binary(0x21, 0x41, IPV4)],
  ["datagrams", binary(0x21, 0x12, IPV4)],
  ["addresses cut off", binary(0x21, 0x11, IPV4.subarray(0, 11))],
  ["IPv6 in the length of IPv4", binary(0x21, 0x21, IPV4)],
  ["much more than is read", binary(0x21, 0x11, IPV4, 4081)],
];

const bytesOf = (header: Buffer | string) => (typeof header === "string" ? Buffer.from(header, "latin1") : header);

describe("a PROXY header", () => {
  it.each(GOOD)("of %s is read up to its last byte, however it is split", (_, header, said) => {
    const bytes = bytesOf(header);
    const request = Buffer.from("GET / HTTP/1.1\r\n\r\n");
    expect(readProxyHeader(Buffer.concat([bytes, request]))).toEqual({ ...said, end: bytes.length });
    for (let length = 0; length < bytes.length; length++)
      expect(readProxyHeader(bytes.subarray(0, length)), `${length}`).toEqual({ kind: "incomplete" });
  });

  it.each(BAD)("is not %s", (_, header) => {
    expect(readProxyHeader(bytesOf(header))).toEqual({ kind: "malformed", problem: expect.any(String) });
  });

  it("of any bytes has one of these results, never needs more bytes than its bound, and an early verdict does not change", () => {
    const beginning = fc.constantFrom("", "PROXY ", "PROXY TCP4 ", SIGN, `${SIGN}\x21\x11`, `${SIGN}\x20\x00\x00`);
    fc.assert(
      fc.property(beginning, fc.uint8Array({ maxLength: 400 }), fc.nat(400), (sign, rest, cut) => {
        const all = Buffer.concat([Buffer.from(sign, "latin1"), rest]);
        const whole = readProxyHeader(all);
        const part = readProxyHeader(all.subarray(0, cut));
        if (part.kind !== "incomplete") expect(whole).toEqual(part);
        if ("end" in whole) expect(whole.end).toBeLessThanOrEqual(all.length);
      }),
    );
    const long = binary(0x20, 0, Buffer.alloc(5000), 4080);
    expect(readProxyHeader(long)).toMatchObject({ kind: "local", end: 4096 });
  });
});

describe("a PROXY header of our own", () => {
  const ends = { address: "192.0.2.9", port: 12345, localAddress: "127.0.0.1", localPort: 80 };
  const six = { ...ends, address: "2001:db8::9", localAddress: "::1" };

  it.each([
    [ends, "PROXY TCP4 192.0.2.9 127.0.0.1 12345 80\r\n"],
    [six, "PROXY TCP6 2001:db8::9 ::1 12345 80\r\n"],
    [
      { ...ends, address: "::ffff:192.0.2.9", localAddress: "::ffff:127.0.0.1" },
      "PROXY TCP4 192.0.2.9 127.0.0.1 12345 80\r\n",
    ],
    [{ ...six, address: "2001:DB8:0:0:0:0:0:9%eth0" }, "PROXY TCP6 2001:db8::9 ::1 12345 80\r\n"],
    [{ ...ends, localAddress: "::1" }, "PROXY UNKNOWN\r\n"],
    [undefined, "PROXY UNKNOWN\r\n"],
  ])("describes %o as other programs read it", (given, text) => {
    expect(proxyHeader("v1", given).toString()).toBe(text);
    for (const version of ["v1", "v2"] as const) {
      const header = proxyHeader(version, given);
      const read = readProxyHeader(header) as Extract<ReturnType<typeof readProxyHeader>, { kind: "client" }>;
      expect(read).toMatchObject({ kind: "client", end: header.length });
      const said = read.ends === undefined ? "PROXY UNKNOWN\r\n" : `${proxyHeader("v1", read.ends)}`;
      expect(said).toBe(text);
    }
  });
});

function proxied() {
  const connection = new FakeConnection();
  const deadlines = new Deadlines();
  deadlines.count(0, 100);
  const log: string[] = [];
  const owner = { ...NO_OWNER, onData: (bytes: Buffer) => log.push(`data ${bytes}`) > 0 };
  const waiting = new ProxiedClient({
    ...{ connection, deadlines, timeoutMs: 1000 },
    onHeader: (header) => {
      log.push(header.kind === "client" ? `from ${header.ends?.address}` : header.kind);
      return owner;
    },
    onGone: (problem) => log.push(`gone: ${problem}`),
  });
  connection.owner = waiting;
  return { connection, deadlines, log, owner, waiting };
}

describe("a connection of a proxy", () => {
  it("is its client's from the first byte after the header on", () => {
    const { connection, deadlines, log, owner } = proxied();
    for (const text of ["PROXY TCP4 192.0.2.9", " 127.0.0.1 1 2\r\nGET"]) connection.owner.onData(Buffer.from(text));
    connection.owner.onData(Buffer.from(" /"));
    expect(log).toEqual(["from 192.0.2.9", "data GET", "data  /"]);
    expect(connection.owner).toBe(owner);
    expect(deadlines.size).toBe(0);
  });

  it.each<[string, (waiting: ProxiedClient) => void, string, boolean]>([
    [
      "a bad header",
      (waiting) => void waiting.onData(Buffer.from("GET / HTTP/1.1\r\n")),
      "gone: its protocol is not TCP4, TCP6 or UNKNOWN",
      true,
    ],
    ["its deadline", (waiting) => waiting.onDeadline(), "gone: it did not arrive in time", true],
    ["a FIN", (waiting) => waiting.onEnd(), "gone: undefined", true],
    ["a close", (waiting) => waiting.onClose(), "gone: undefined", false],
    ["a drain", (waiting) => waiting.closeIfIdle(), "gone: undefined", true],
  ])("ends once with %s before a header", (_, end, said, isClosed) => {
    const { connection, deadlines, log, waiting } = proxied();
    waiting.onData(Buffer.from("PROXY "));
    end(waiting);
    waiting.onData(Buffer.from("TCP4 192.0.2.9 127.0.0.1 1 2\r\n"));
    waiting.onClose();
    waiting.onDeadline();
    expect(log).toEqual([said]);
    expect(connection.isClosed).toBe(isClosed);
    expect(deadlines.size).toBe(0);
  });

  it("without a header is reported to the operator once a minute, with the number of further ones", () => {
    let now = 0;
    const told: string[] = [];
    const problems = new ClosedClients(
      (line) => told.push(line),
      "without a good PROXY header",
      () => now,
    );
    for (let n = 0; n < 5; n++) problems.note("192.0.2.1", "because");
    now = 60_000;
    problems.note("192.0.2.2", "why");
    expect(told).toEqual([
      "closed a connection from 192.0.2.1 without a good PROXY header: because",
      "closed a connection from 192.0.2.2 without a good PROXY header: why, and 4 others before",
    ]);
  });
});
