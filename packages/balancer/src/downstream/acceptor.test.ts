/** Who is let in while connections are at their limit and clients do not complete their TLS handshakes. */
import { expect, it, vi } from "vitest";
import { LIMITS } from "../../test/support/balancer-process.js";
import { FakeConnection } from "../../test/support/fake-transport.js";
import { MIN_WAIT_MS } from "../admission/door.js";
import { Deadlines } from "../deadlines.js";
import type { Relay } from "../exchange/relay.js";
import { Forwarded } from "../http1/forwarded.js";
import { Counters } from "../stats/counters.js";
import type { TlsService } from "../tls/handshake.js";
import type { Transport } from "../transport/transport.js";
import { Acceptor } from "./acceptor.js";

it("lets clients in while silent handshakes hold every place and those beyond the limit", () => {
  const deadlines = new Deadlines();
  const counters = new Counters();
  const acceptor = new Acceptor({
    ...{ transport: { openSockets: 0 } as Transport, counters, tcp: undefined as never, registry: undefined as never },
    onNotice() {},
    relay: { deadlines, limits: { ...LIMITS, maxConnections: 10 }, forwarded: new Forwarded([]) } as unknown as Relay,
    onEntered() {},
    onLeft() {},
  });
  const entrance = { fd: 3, isUnix: false, isProxied: false, redirect: undefined, tls: {} as TlsService };
  const connect = () => {
    const connection = new FakeConnection();
    const reset = vi.spyOn(connection, "reset");
    connection.owner = acceptor.accept(connection, entrance);
    return { isCut: () => reset.mock.calls.length > 0 };
  };
  const first = Array.from({ length: 400 }, connect);
  const held = () => first.flatMap(({ isCut }, at) => (isCut() ? [] : [at]));
  // Ten have a place; of those that will be refused, the newest ones are kept.
  expect(held()).toEqual([...Array(10).keys(), ...Array.from({ length: 256 }, (_, at) => at + 144)]);
  expect(counters.connections).toBe(266);
  const start = performance.now();
  for (let ms = 0; ms <= MIN_WAIT_MS + 200; ms += 100) deadlines.tick(start + ms);
  const later = Array.from({ length: 10 }, connect);
  expect(later.map(({ isCut }) => isCut())).toEqual(Array(10).fill(false));
  expect([...Array(10).keys()].map((at) => first[at]?.isCut())).toEqual(Array(10).fill(true));
  expect(counters.connections).toBe(265);
});
