/** Which descriptors the processes of a slot inherit, and when a slot closes its sockets. */
import net from "node:net";
import { describe, expect, it } from "vitest";
import { freePort } from "../../../../test/support/ports.js";
import { canShareAddresses } from "../core/serving.js";
import { bindAll } from "./listening-sockets.js";
import { SlotSockets } from "./slot-sockets.js";

it.each([
  [{ bun: "1.4.5", node: "20.0.0" }, true],
  [{ node: "20.19.0" }, false],
  [{ node: "22.11.0" }, false],
  [{ node: "22.12.0" }, true],
  [{ node: "23.0.0" }, false],
  [{ node: "23.1.0" }, true],
  [{ node: "26.0.0" }, true],
])("%j can share addresses: %j", (versions, can) => {
  expect(canShareAddresses(versions)).toBe(can);
});

async function freeAddress() {
  const server = net.createServer();
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { server, address: { kind: "tcp" as const, host: "127.0.0.1", port } };
}

describe("the sockets of slots", () => {
  it("are rejected while somebody else listens, and on a runtime that cannot share addresses", async () => {
    await bindAll([]);
    const { server, address } = await freeAddress();
    const sockets = new SlotSockets({ isAlive: () => false });
    expect(() => sockets.reserve([{ bind: [address] }], false)).toThrow(/it is held by pid/);
    await new Promise((resolve) => server.close(resolve));
    const reserve = () => sockets.reserve([{ bind: [address] }, {}], false);
    if (canShareAddresses(process.versions)) {
      reserve();
      expect(sockets.urls).toEqual([`http://127.0.0.1:${address.port}`]);
    } else expect(reserve).toThrow("direct mode needs Bun, or Node 22.12");
    sockets.close();
  });

  it("stay with the slot for a time after its process has exited", async (context) => {
    if (!canShareAddresses(process.versions)) return context.skip("this runtime cannot share addresses");
    await bindAll([]);
    const { server, address } = await freeAddress();
    await new Promise((resolve) => server.close(resolve));
    let isAlive = false;
    const sockets = new SlotSockets({ isAlive: () => isAlive, keptMs: 1 });
    const take = (slot: string) => sockets.take(slot, [address]);
    const [first] = take("web.1");
    expect(take("web.2")).not.toEqual([first]);
    expect(take("web.1")).toEqual([first]);
    isAlive = true;
    sockets.ended("web.1");
    sockets.ready("web.1");
    expect(take("web.1")).toEqual([first]);
    sockets.close();
  });
});
