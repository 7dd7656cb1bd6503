import { expect, it } from "vitest";
import { ListeningSockets } from "./listening.js";

/** Two sockets that can defer clients, of which 4 has clients that may wait for the server, and one that cannot. */
function listening() {
  const calls: string[] = [];
  const waiting = new Set([4]);
  const sockets = new ListeningSockets((fd) => waiting.has(fd));
  const close = (fd: number) => () => void calls.push(`${fd} closed`);
  for (const fd of [3, 4])
    sockets.add(fd, { deferClients: (isOn) => void calls.push(`${fd} ${isOn}`), close: close(fd) });
  sockets.add(5, { close: close(5) });
  let accepted = 0;
  const tick = (arrived: number) => {
    accepted += arrived;
    sockets.tick(accepted);
    return calls.splice(0);
  };
  return { sockets, waiting, tick, calls };
}

it("defers clients while many arrive, but not those of a server that may send first", () => {
  const { tick } = listening();
  expect(tick(99)).toEqual([]);
  expect(tick(100)).toEqual(["3 true"]);
  expect([tick(1000), tick(50)]).toEqual([[], []]);
  expect(tick(49)).toEqual(["3 false"]);
  expect(tick(99)).toEqual([]);
});

it("follows a change of the sockets whose servers may send first", () => {
  const { tick, waiting } = listening();
  tick(100);
  waiting.add(3).delete(4);
  expect(tick(100)).toEqual(["3 false", "4 true"]);
});

it("accepts whoever has connected before it closes", () => {
  const { sockets, tick, calls } = listening();
  tick(1000);
  expect(sockets.beginClosing()).toBe(true);
  expect(calls.splice(0)).toEqual(["3 false"]);
  expect(tick(1000)).toEqual([]);
  expect(sockets.areOpen).toBe(true);
  sockets.close();
  expect([calls.splice(0), sockets.areOpen]).toEqual([["3 closed", "4 closed", "5 closed"], false]);
});

it.each([
  ["no client was deferred", [99], false],
  ["clients were deferred a second ago", [100, ...Array(14).fill(0)], true],
  ["that was longer ago", [100, ...Array(15).fill(0)], false],
])("knows whether clients may still follow: %s", (_, ticks, expected) => {
  const { sockets, tick } = listening();
  for (const arrived of ticks) tick(arrived);
  expect(sockets.beginClosing()).toBe(expected);
});
