import { describe, expect, it, vi } from "vitest";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { Deadlines } from "../deadlines.js";
import { NO_OWNER } from "../transport/transport.js";
import { MAX_HELLO_BYTES } from "./client-hello.js";
import { Handshake, HandshakeTurns, type Secured } from "./handshake.js";

/** A ClientHello without extensions. */
const HELLO = Buffer.concat([
  Buffer.from([22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3]),
  Buffer.alloc(32),
  Buffer.from("00000213010100", "hex"),
]);

function shake({ hasCertificate = true, turns = new HandshakeTurns() } = {}) {
  const connection = new FakeConnection();
  const deadlines = new Deadlines();
  const owner = { ...NO_OWNER };
  const said: { first?: Buffer; secure?: (secured: Secured) => void } = {};
  const gone = vi.fn();
  const reset = vi.spyOn(connection, "reset");
  const handshake = new Handshake({
    ...{ connection, deadlines, timeoutMs: 1000, turns, onGone: gone, onSecure: () => owner },
    peer: { node: "192.0.2.9", isTrusted: false, fields: undefined as never },
    tls: {
      begin(_, first, __, onSecure) {
        said.first = first;
        said.secure = onSecure;
        return hasCertificate ? connection : undefined;
      },
    },
  });
  connection.owner = handshake;
  return { connection, deadlines, handshake, gone, reset, said, owner };
}

const secured = (protocol = ""): Secured => ({ protocol, certificate: [] });

describe("a handshake", () => {
  it("begins when the hello is complete, and ends with the next owner", () => {
    const { handshake, said, connection, owner, deadlines, gone } = shake();
    handshake.onData(HELLO.subarray(0, 20));
    expect(said.first).toBeUndefined();
    handshake.onData(HELLO.subarray(20));
    expect(said.first).toEqual(HELLO);
    expect(handshake.owesRequestSince).toBeCloseTo(deadlines.now);
    said.secure?.(secured());
    expect(connection.owner).toBe(owner);
    expect([deadlines.size, gone.mock.calls.length, handshake.owesRequestSince]).toEqual([
      0,
      0,
      Number.POSITIVE_INFINITY,
    ]);
  });

  it.each<[string, (shaking: ReturnType<typeof shake>) => void]>([
    ["its deadline", ({ handshake }) => handshake.onDeadline()],
    ["FIN", ({ handshake }) => handshake.onEnd()],
    ["another client that needs its place", ({ handshake }) => handshake.closeForOthers()],
    ["the end of a drain's grace", ({ handshake }) => handshake.closeIfIdle()],
    ["bytes of another protocol", ({ handshake }) => handshake.onData(Buffer.from("SSH-2.0\r\n"))],
    ["a hello without end", ({ handshake }) => handshake.onData(Buffer.alloc(MAX_HELLO_BYTES + 1, 22))],
  ])("%s resets it", (_, end) => {
    const shaking = shake();
    end(shaking);
    expect([shaking.reset.mock.calls.length, shaking.gone.mock.calls.length, shaking.deadlines.size]).toEqual([
      1, 1, 0,
    ]);
    shaking.handshake.onClose();
    expect(shaking.gone).toHaveBeenCalledTimes(1);
  });

  it("recognizes a client that speaks HTTP, and one for which there is no certificate", () => {
    const plain = shake();
    plain.handshake.onData(Buffer.from("GET / HTTP/1.1\r\n"));
    expect(plain.connection.take().toString()).toMatch(
      /^HTTP\/1\.1 400 .*\r\n\r\nThis address takes https, not http\.\r\n$/s,
    );
    const without = shake({ hasCertificate: false });
    without.handshake.onData(HELLO);
    expect([...without.connection.take()]).toEqual([21, 3, 1, 0, 2, 2, 112]);
    for (const { connection, gone } of [plain, without])
      expect([connection.isClosed, gone.mock.calls.length]).toEqual([true, 1]);
  });

  it("closes a connection that a certificate authority has opened to read the certificate", () => {
    const { handshake, said, connection, gone } = shake();
    handshake.onData(HELLO);
    said.secure?.(secured("acme-tls/1"));
    expect([connection.isClosed, gone.mock.calls.length]).toEqual([true, 1]);
  });

  it("begins a few in each turn, in order, and none of those that have left", async () => {
    const turns = new HandshakeTurns();
    const all = Array.from({ length: 10 }, () => shake({ turns }));
    for (const { handshake } of all) handshake.onData(HELLO);
    const begun = () => all.flatMap(({ said }, at) => (said.first === undefined ? [] : [at]));
    expect(begun()).toEqual([0, 1, 2, 3]);
    all[5]?.handshake.onClose();
    await new Promise(setImmediate);
    expect(begun()).toEqual([0, 1, 2, 3, 4, 6, 7, 8]);
    await new Promise(setImmediate);
    expect(begun()).toEqual([0, 1, 2, 3, 4, 6, 7, 8, 9]);
  });
});
