/**
 * Sends requests at a constant rate, or as they were recorded, half of them over new connections. The load is an open loop: it does not
 * slow down when responses take longer.
 */
import type { NetConnectOpts, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Ask, exchange, type Outcome } from "./exchange.js";
import type { Replayed } from "./recording.js";
import type { Tally } from "./tally.js";

/** A request without a complete response after this time is lost. The time is longer than a balancer waits for an instance that hangs. */
const DEADLINE_MS = 30_000;
/** No requests are sent beyond this number in flight, because something hangs. */
const MAX_IN_FLIGHT = 1_000;
const MAX_IDLE = 16;
const TICK_MS = 10;
/** If this process is delayed, only the requests of this time are sent late, and earlier ones are left out. In milliseconds. */
const MOST_LATE_MS = 100;
const MAX_SPREAD_MS = 500;
/** The maximum number of consecutive requests, if nobody ends the series. */
const MAX_IN_TURN = 500;

/** Returns the start time with which a recording would be at this request now: each phase continues where the last one ended. */
export function resumedFrom(replayed: Replayed | undefined, at: number, now: number): number {
  return now - (replayed?.entries[at]?.atMs ?? 0);
}

export interface LoadOptions {
  address: NetConnectOpts;
  asks: readonly Ask[];
  /** In requests per second. */
  rate: number;
  /** A recording that is sent in place of `asks`, again and again. */
  replayed?: Replayed | undefined;
}

export class Load {
  private readonly idle: Socket[] = [];
  private readonly inFlight = new Set<Promise<unknown>>();
  private timer: NodeJS.Timeout | undefined;
  private tally: Tally | undefined;
  private sent = 0;
  private dueAt = 0;
  private replayAt = 0;
  private replayedFrom = 0;
  /** In requests per second. */
  rate: number;
  /** Requests that were not sent because too many were in flight. */
  unsent = 0;

  constructor(private readonly options: LoadOptions) {
    this.rate = options.rate;
  }

  /** Starts to send requests, counted in `tally`. */
  start(tally: Tally): void {
    this.tally = tally;
    this.dueAt = performance.now();
    this.replayedFrom = resumedFrom(this.options.replayed, this.replayAt, this.dueAt);
    this.timer ??= setInterval(() => this.tick(), TICK_MS);
  }

  /** Stops sending, and resolves when every request has finished or reached its deadline. */
  async pause(): Promise<void> {
    clearInterval(this.timer);
    this.timer = undefined;
    await Promise.all(this.inFlight);
  }

  /** Sends a request that is counted in no tally, and resolves with its outcome. */
  ask(ask: Ask): Promise<Outcome> {
    return exchange(ask, { address: this.options.address, deadlineMs: DEADLINE_MS, closes: true });
  }

  /**
   * Sends `count` requests at once, counted in `tally`. Resolves when all are written or have failed.
   * @param every the requests, in turn
   */
  async burst(count: number, every: readonly Ask[], tally: Tally): Promise<void> {
    const written = Array.from({ length: count }, (_, at) => {
      const ask = every[at % every.length] as Ask;
      return new Promise<void>((resolve) => {
        const done = this.send(ask, at % 2 === 0, tally, resolve);
        void done.then(() => resolve());
      });
    });
    await Promise.all(written);
  }

  /**
   * Keeps `count` requests in progress, counted in `tally`: each response is followed by the next request. The starts are spread evenly
   * over the duration of one request, so that at every moment some requests are half done. Resolves when each of them has had a response.
   * @returns a function that ends the series
   */
  async keepUnderWay(count: number, ask: Ask, tally: Tally): Promise<() => void> {
    const { durationMs } = await this.ask(ask);
    const ending = new AbortController();
    const begin = async (at: number) => {
      await sleep((at / count) * Math.min(durationMs, MAX_SPREAD_MS));
      await this.send(ask, at % 2 === 0, tally);
      void goOn(at);
    };
    const goOn = async (at: number) => {
      for (let left = MAX_IN_TURN; left > 0 && !ending.signal.aborted; left--)
        await this.send(ask, at % 2 === 0, tally);
    };
    await Promise.all(Array.from({ length: count }, (_, at) => begin(at)));
    return () => ending.abort();
  }

  close(): void {
    clearInterval(this.timer);
    this.forgetIdle();
  }

  /** Closes the idle connections that were kept. */
  forgetIdle(): void {
    for (const socket of this.idle.splice(0)) socket.destroy();
  }

  private tick(): void {
    const now = performance.now();
    const { replayed } = this.options;
    if (replayed !== undefined) return this.replay(replayed, now);
    const { asks } = this.options;
    this.dueAt = Math.max(this.dueAt, now - MOST_LATE_MS);
    for (; this.dueAt <= now; this.dueAt += 1000 / this.rate) {
      const number = this.sent++;
      // Alternates between new and kept connections, shifted each round, so that every request uses both even if their number is even.
      const isNew = (number + Math.floor(number / asks.length)) % 2 === 0;
      this.sendCounted(asks[number % asks.length] as Ask, isNew);
    }
  }

  private replay({ entries, lengthMs }: Replayed, now: number): void {
    if (entries.length === 0) return;
    for (;;) {
      const next = entries[this.replayAt] as Replayed["entries"][number];
      if (this.replayedFrom + next.atMs > now) return;
      this.sendCounted(next.ask, this.sent++ % 2 === 0);
      if (++this.replayAt < entries.length) continue;
      this.replayAt = 0;
      this.replayedFrom = Math.max(this.replayedFrom + lengthMs, now - MOST_LATE_MS);
    }
  }

  private sendCounted(ask: Ask, isNew: boolean): void {
    if (this.tally === undefined) return;
    if (this.inFlight.size >= MAX_IN_FLIGHT) this.unsent++;
    else void this.send(ask, isNew, this.tally);
  }

  private send(ask: Ask, isNew: boolean, tally: Tally, onSent?: () => void): Promise<void> {
    const kept = isNew ? undefined : this.takeIdle();
    const { address } = this.options;
    const done = exchange(ask, { address, deadlineMs: DEADLINE_MS, kept, closes: isNew, onSent }).then((outcome) => {
      this.inFlight.delete(done);
      tally.add(outcome);
      this.keep(outcome.socket);
    });
    this.inFlight.add(done);
    return done;
  }

  private takeIdle(): Socket | undefined {
    for (;;) {
      const socket = this.idle.pop();
      if (socket === undefined || !socket.destroyed) return socket;
    }
  }

  private keep(socket: Socket | null): void {
    if (socket === null) return;
    if (this.idle.length >= MAX_IDLE) socket.destroy();
    else this.idle.push(socket);
  }
}
