import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it, onTestFinished, vi } from "vitest";
import { eachTcpRow, localPeer, readTcpQueues } from "./tcp-table.js";

const TITLE =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     ";
const row = (number: number, rest: string) => `${String(number).padStart(4)}: ${rest}`.padEnd(149);
const TIME_WAIT =
  "0100007F:995D 0100007F:C350 06 00000000:00000000 03:00001770 00000000     0        0 0 3 00000000a0b217ad";

const folder = mkdtempSync(path.join(tmpdir(), "paceline-tcp-table-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function table(name: string, rows: string[]): string {
  const file = path.join(folder, name);
  writeFileSync(file, `${[TITLE, ...rows].join("\n")}\n`);
  return file;
}

it("finds what the kernel holds for peers, what is unread and who has sent FIN, in the tables of both address families", async () => {
  const v4 = table("tcp", [
    row(0, "0100007F:5EDB 00000000:0000 0A 00000000:00000080 00:00000000 00000000     0        0 171707 1 0 100"),
    row(1, "0100007F:995D 0100007F:C350 01 003F2A00:00000000 01:00000014 00000000  1000        3 170967 2 0 20"),
    row(2, TIME_WAIT),
    row(3, "0100007F:995D 0100007F:C353 08 00000000:00000064 00:00000000 00000000  1000        3 7 2 0 20"),
    row(123_456, "0100007F:995D 0100007F:C354 08 00000002:00000064 00:00000000 00000000  1000        3 8 2 0 20"),
  ]);
  const v6 = table("tcp6", [
    "12345: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:C352 01 00000001:00000000 00:00000000 00000000     0        0 99 1 0 20",
    "12346: 00000000000000000000000001000000:C352 00000000000000000000000001000000:1F90 01 00000000:0001F000 00:00000000 00000000     0        0 98 1 0 20",
    "12347: 0000000000000000FFFF00000100007F:C355 0000000000000000FFFF00000100007F:1F90 01 00000000:00000010 00:00000000 00000000     0        0 97 1 0 20",
  ]);
  const { outgoing, ended, unread } = await readTcpQueues([v4, path.join(folder, "none"), v6]);
  expect([...outgoing]).toEqual([
    [170967, 0x3f2a00],
    [8, 2],
    [99, 1],
  ]);
  expect([...ended]).toEqual([7, 8]);
  // By the names of peers: a client of 127.0.0.1 has a row in either table.
  const peer = (remoteAddress: string, remotePort: number, localAddress = remoteAddress) =>
    localPeer({ remoteAddress, remotePort, localAddress, localPort: 0x1f90 });
  const peers = [peer("::1", 0xc352), peer("::ffff:127.0.0.1", 0xc355), peer("127.0.0.1", 0xc355)];
  expect(peers.map((name) => unread.get(name as string))).toEqual([0x1f000, 16, 16]);
  expect(peer("192.0.2.7", 0xc355)).toBe("070200C0:C355 1F90");
  for (const elsewhere of [peer("192.0.2.7", 1, "192.0.2.8"), peer("2001:db8::1", 1), localPeer({})])
    expect(elsewhere).toBeUndefined();
});

it("holds one piece of a table of 40,000 connections, most of them closed, and misses none of the others", async () => {
  const file = table(
    "large",
    Array.from({ length: 40_000 }, (_, i) =>
      row(
        i,
        i % 400 === 399
          ? `0100007F:995D 0100007F:C350 01 00000010:00000000 01:00000014 00000000  1000        3 ${i} 2 0 20`
          : TIME_WAIT,
      ),
    ),
  );
  const spies = (["read", "readSync"] as const).map((name) => vi.spyOn(process.getBuiltinModule("node:fs"), name));
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore();
  });
  const inodes: number[] = [];
  await eachTcpRow(
    ({ text }) => inodes.push(Number(text.trim().split(/\s+/)[9])),
    (holds) => holds,
    [file],
  );
  expect(inodes).toEqual(Array.from({ length: 100 }, (_, i) => i * 400 + 399));
  // The table has 6 MB, and each piece replaces the one before. Other work may read files in the meantime.
  const buffers = new Map<unknown, number>();
  for (const [, into] of spies.flatMap(({ mock }) => mock.calls as unknown[][]))
    buffers.set(into, (buffers.get(into) ?? 0) + 1);
  const [[piece, reads] = []] = [...buffers].sort(([, a], [, b]) => b - a);
  expect(reads).toBeGreaterThan(300);
  expect((piece as Buffer).length).toBeLessThan(20_000);
});
