import { expect, it } from "vitest";
import { type Sharer, TurnShare } from "./reading.js";

const READ_UNITS = 300_000;
const clients: Client[] = [];
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A client that always has more data, and is read unless it is paused. */
class Client implements Sharer {
  isPaused = false;
  reads = 0;

  constructor(private readonly share: TurnShare) {}

  onTurnOver(): void {
    this.isPaused = true;
  }

  onTurn(): void {
    this.isPaused = false;
    this.share.join(this);
    // The kernel reports the sockets in order of readiness.
    clients.splice(clients.indexOf(this), 1);
    clients.push(this);
  }

  read(): number {
    if (this.isPaused) return 0;
    this.reads++;
    this.share.join(this);
    this.share.take(READ_UNITS);
    return 1;
  }
}

it("reads few of many clients in a turn, and all of them in turn; a client that disconnects is not called again", async () => {
  const share = new TurnShare({ take: () => false });
  clients.push(...Array.from({ length: 60 }, () => new Client(share)));
  const left = clients.pop() as Client;
  left.read();
  share.leave(left);
  let turns = 0;
  for (; turns < 800; turns++) {
    const reads = [...clients].reduce((sum, client) => sum + client.read(), 0);
    // The first read of a connection contains a head.
    if (turns > 0) expect(reads).toBeLessThanOrEqual(4);
    await turn();
  }
  const reads = clients.map((client) => client.reads);
  expect(Math.max(...reads) - Math.min(...reads)).toBeLessThanOrEqual(4);
  expect(Math.min(...reads)).toBeGreaterThan(20);
  expect([left.reads, left.isPaused]).toEqual([1, false]);
  // Alone, a client is read again in the next turn.
  const [alone, ...others] = clients;
  for (const client of others) share.leave(client);
  await turn();
  await turn();
  expect(alone?.isPaused).toBe(false);
});

it("continues to read nobody during a rest, and all in turn after it", async () => {
  const rests: (() => void)[] = [];
  const share = new TurnShare({ take: (goOn) => rests.push(goOn) > 0 });
  const some = [new Client(share), new Client(share)];
  clients.splice(0, clients.length, ...some);
  for (const client of some) client.read();
  expect(some.map(({ isPaused }) => isPaused)).toEqual([true, true]);
  for (let n = 0; n < 5; n++) await turn();
  expect([rests.length, ...some.map(({ isPaused }) => isPaused)]).toEqual([1, true, true]);
  rests[0]?.();
  expect(some.map(({ isPaused }) => isPaused)).toEqual([false, false]);
});
