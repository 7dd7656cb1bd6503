import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { freePort } from "../../../../test/support/ports.js";
import type { ListenAddress } from "../core/model.js";
import { bindAll, type ListeningSocket } from "./listening-sockets.js";

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "pl-listen-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("a unix socket has mode 0600 unless configured, and its file is removed with it", async () => {
  const path = join(folder(), "a.sock");
  for (const [mode, has] of [
    [undefined, 0o600],
    [0o666, 0o666],
  ] as const) {
    const [socket] = await bindAll([{ kind: "unix", path, ...(mode !== undefined && { mode }) }]);
    expect(statSync(path).mode & 0o777).toBe(has);
    expect(socket?.url).toBe(`unix:${path}`);
    socket?.close();
    socket?.close();
    expect(existsSync(path)).toBe(false);
  }
});

test("a file that has replaced the socket's own file is left alone", async () => {
  const directory = folder();
  const path = join(directory, "a.sock");
  const [socket] = await bindAll([{ kind: "unix", path }]);
  unlinkSync(path);
  writeFileSync(path, "another's");
  socket?.close();
  expect(readdirSync(directory)).toEqual(["a.sock"]);
});

test("a group that this user may not assign leaves nothing behind and is one line", async (context) => {
  if (process.geteuid?.() === 0) return context.skip("root may give any group");
  const path = join(folder(), "a.sock");
  await expect(bindAll([{ kind: "unix", path, group: { name: "root", gid: 0 } }])).rejects.toThrow(
    `cannot listen on unix:${path}: only root and members of the group root can give it to that group (EPERM)`,
  );
  expect(existsSync(path)).toBe(false);
});

test.each(["tcp", "unix"] as const)(
  "a %s address that balancers of an earlier supervisor have is bound once they have closed it",
  async (kind) => {
    const path = join(folder(), "a.sock");
    const balancer = createServer();
    const port = await freePort();
    balancer.listen(kind === "unix" ? path : { port, host: "127.0.0.1" });
    await once(balancer, "listening");
    const address: ListenAddress = kind === "unix" ? { kind, path } : { kind, host: "127.0.0.1", port };
    const [socket] = (await bindAll([address], undefined, { mayBeHeld: true })) as [ListeningSocket];
    const held = /is held by balancers of an earlier supervisor; stop and start the fleet to replace them/;
    expect(() => socket.fd).toThrow(held);
    await new Promise((resolve) => balancer.close(resolve));
    await expect.poll(() => socket.fd).toBeGreaterThan(2);
    socket.close();
    // It is free again.
    const [next] = await bindAll([address]);
    next?.close();
  },
);
