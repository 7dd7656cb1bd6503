import { Duplex } from "node:stream";
import { connect } from "node:tls";
import { expect, test } from "vitest";
import { MAX_HELLO_BYTES, readClientHello } from "./client-hello.js";
import { CertificateTable } from "./contexts.js";

/** The first bytes that a real client sends. */
function helloOf(servername: string, ALPNProtocols: string[]): Promise<Buffer> {
  return new Promise((resolve) => {
    // The client may write before `connect` returns.
    const sent = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) });
    connect({ socket: sent, servername, ALPNProtocols, rejectUnauthorized: false }).on("error", () => {});
  });
}

test("a real client's name and protocols are read, however its hello is split", async () => {
  const hello = await helloOf("Shop.Example", ["h2", "http/1.1"]);
  const said = { kind: "hello", name: "shop.example", protocols: ["h2", "http/1.1"] };
  expect(readClientHello(hello)).toEqual(said);
  expect(readClientHello(Buffer.concat([hello, Buffer.from("more")]))).toEqual(said);
  for (let length = 0; length < hello.length; length++)
    expect(readClientHello(hello.subarray(0, length)).kind, `${length} bytes`).toBe("incomplete");
  // The same message in records of seven bytes.
  const records: Buffer[] = [];
  for (let at = 5; at < hello.length; at += 7) {
    const part = hello.subarray(at, at + 7);
    records.push(Buffer.from([22, 3, 1, 0, part.length]), part);
  }
  expect(readClientHello(Buffer.concat(records))).toEqual(said);
});

test("a client that sends neither", async () => {
  expect(readClientHello(await helloOf("", []))).toEqual({ kind: "hello", name: "", protocols: [] });
});

test.each([
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["SSL 2", Buffer.from([0x80, 0x2e, 1, 0, 2])],
  ["another record", Buffer.from([23, 3, 3, 0, 1, 0])],
  ["another handshake message", Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])],
  ["an empty record", Buffer.from([22, 3, 1, 0, 0])],
  ["a record that is too long", Buffer.from([22, 3, 1, 0xff, 0xff])],
  ["a message that is too long", Buffer.from([22, 3, 1, 0, 4, 1, 1, 0, 0])],
])("%s is not a ClientHello", (_, bytes) => {
  expect(readClientHello(bytes)).toEqual({ kind: "other" });
});

test("wrong lengths never lead beyond the bytes", async () => {
  const hello = await helloOf("shop.example", ["h2"]);
  for (let at = 5; at < hello.length; at++) {
    const bytes = Buffer.from(hello);
    bytes[at] = 255;
    expect(["hello", "other", "incomplete"]).toContain(readClientHello(bytes).kind);
  }
  expect(MAX_HELLO_BYTES).toBeGreaterThan(hello.length);
});

const [first, shop, wild] = [["a.test"], ["shop.example", "www.shop.example"], ["*.shop.example"]].map((names) => ({
  names,
}));

test.each([
  ["shop.example", shop],
  ["www.shop.example", shop],
  ["api.shop.example", wild],
  ["v1.api.shop.example", first],
  ["example", first],
  ["", first],
])("the certificate for %j", (name, expected) => {
  expect(new CertificateTable([first, shop, wild] as { names: string[] }[]).find(name)).toBe(expected);
  expect(new CertificateTable([]).find(name)).toBeUndefined();
});
