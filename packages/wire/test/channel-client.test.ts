/** The control channel client against a scripted supervisor, in a process of each runtime. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inTime } from "../../../test/support/wait.js";
import { LineFramer } from "../dist/index.js";

const BUN = new URL("../../supervisor/node_modules/@oven/bun-linux-x64/bin/bun", import.meta.url).pathname;
const CHILD = new URL("./fixtures/child.mjs", import.meta.url).pathname;
const DEADLINE_MS = 60_000;

type Message = Record<string, unknown>;

/** A queue that can be awaited, with a deadline. */
class Mailbox {
  private items: Message[] = [];
  private waiters: ((item: Message) => void)[] = [];
  put(item: Message): void {
    const waiter = this.waiters.shift();
    if (waiter) waiter(item);
    else this.items.push(item);
  }
  next(): Promise<Message> {
    const item = this.items.shift();
    if (item) return Promise.resolve(item);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("nothing came")), DEADLINE_MS);
      this.waiters.push((value) => {
        clearTimeout(timer);
        resolve(value);
      });
    });
  }
}

for (const [runtime, program] of [
  ["node", process.execPath],
  ["bun", BUN],
] as const) {
  describe(`ChannelClient on ${runtime}`, () => {
    let directory: string;
    let path: string;
    let server: Server | undefined;
    let sockets: Socket[];
    /** Lines received by the supervisor, and callbacks of the child. */
    let heard: Mailbox;
    let told: Mailbox;
    let child: ChildProcess | undefined;

    beforeEach(async () => {
      directory = mkdtempSync(join(tmpdir(), "paceline-channel-"));
      path = join(directory, "channel.sock");
      sockets = [];
      heard = new Mailbox();
    });

    afterEach(async () => {
      child?.kill("SIGKILL");
      child = undefined;
      await closeServer();
      rmSync(directory, { recursive: true, force: true });
    });

    function openServer(): Promise<void> {
      const opened = createServer((socket) => {
        sockets.push(socket);
        socket.on("error", () => {});
        const lines = new LineFramer((line) => heard.put(JSON.parse(line)));
        socket.on("data", (chunk) => lines.push(chunk));
      });
      server = opened;
      return new Promise((resolve) => opened.listen(path, resolve));
    }

    function closeServer(): Promise<void> {
      const closing = server;
      server = undefined;
      for (const socket of sockets.splice(0)) socket.destroy();
      return new Promise((resolve) => (closing ? closing.close(() => resolve()) : resolve()));
    }

    function say(message: Message): void {
      sockets.at(-1)?.write(`${JSON.stringify(message)}\n`);
    }

    function startChild(orphanGraceMs = 60_000): void {
      told = new Mailbox();
      child = spawn(program, [CHILD], {
        stdio: ["pipe", "pipe", "inherit"],
        env: {
          ...process.env,
          PACELINE_CHANNEL: path,
          PACELINE_TOKEN: "secret",
          PACELINE_ATTEMPT: "7",
          PACELINE_SPEC: JSON.stringify({ orphanGraceMs, drainTimeoutMs: 1000 }),
          PACELINE_POOL: "web",
          PACELINE_INSTANCE: "web.3",
          PACELINE_INDEX: "3",
          PACELINE_GENERATION: "2",
          PACELINE_SOCKET: "/run/web.3.sock",
        },
      });
      const box = told;
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => box.put(JSON.parse(line)));
    }

    function command(message: Message): void {
      child?.stdin?.write(`${JSON.stringify(message)}\n`);
    }

    it("sends hello, and receives what the supervisor sends", async () => {
      await openServer();
      startChild();
      expect(await heard.next()).toEqual({
        type: "hello",
        channelVersion: 1,
        token: "secret",
        role: "instance",
        pool: "web",
        name: "web.3",
        attempt: 7,
        generation: 2,
        pid: child?.pid,
        runtime: expect.stringMatching(new RegExp(`^${runtime} \\d+\\.\\d+\\.\\d+`)),
        phase: "starting",
        socket: "/run/web.3.sock",
      });
      say({ type: "welcome" });
      expect(await told.next()).toEqual({ event: "welcome" });
      say({ type: "drain", deadlineMs: 1234 });
      expect(await told.next()).toEqual({ event: "drain", deadlineMs: 1234 });
      say({ type: "released" });
      expect(await told.next()).toEqual({ event: "released" });
      command({ send: { type: "ready" } });
      expect(await heard.next()).toEqual({ type: "ready" });
    });

    it("reconnects after a loss and sends its current phase", async () => {
      await openServer();
      startChild();
      await heard.next();
      say({ type: "welcome" });
      await told.next();
      await closeServer();
      expect(await told.next()).toMatchObject({ event: "problem" });
      command({ phase: "ready" });
      expect(await told.next()).toEqual({ event: "phase" });
      await openServer();
      expect(await heard.next()).toMatchObject({ type: "hello", phase: "ready" });
      say({ type: "welcome" });
      expect(await told.next()).toEqual({ event: "welcome" });
    });

    it("is orphaned once when no supervisor ever comes, and does not reconnect", async () => {
      startChild(300);
      expect(await told.next()).toEqual({ event: "orphaned" });
      await openServer();
      command({ send: { type: "ready" } });
      expect(await told.next()).toEqual({ event: "sent", result: false });
      expect(sockets).toEqual([]);
    });

    it("is not orphaned while a supervisor is there", async () => {
      const graceMs = 1500;
      const welcomed = async () => {
        const next = told.next();
        await Promise.race([heard.next(), next]);
        say({ type: "welcome" });
        return next;
      };
      const comeBack = async () => {
        child?.kill("SIGKILL");
        await closeServer();
        heard = new Mailbox();
        await openServer();
        const startedAt = performance.now();
        startChild(graceMs);
        let last = await welcomed();
        if (last.event === "welcome") {
          await closeServer();
          expect(await told.next()).toMatchObject({ event: "problem" });
          await openServer();
          last = await welcomed();
        }
        return { last, tookMs: performance.now() - startedAt };
      };
      const { last } = await inTime(comeBack, ({ last, tookMs }) => last.event === "orphaned" && tookMs > graceMs);
      expect(last).toEqual({ event: "welcome" });
      command({ wait: graceMs + 200 });
      expect(await told.next()).toEqual({ event: "waited" });
    });

    it("reports a refusal and does not reconnect", async () => {
      await openServer();
      startChild();
      await heard.next();
      say({ type: "refused", reason: "unknown token" });
      expect(await told.next()).toEqual({ event: "refused", reason: "unknown token" });
      command({ wait: 600 });
      expect(await told.next()).toEqual({ event: "waited" });
      expect(sockets.length).toBe(1);
    });

    it("closes a control channel with invalid lines and tries again", async () => {
      await openServer();
      startChild();
      await heard.next();
      sockets[0]?.write("{nonsense\n");
      expect(await told.next()).toMatchObject({ event: "problem", message: expect.stringContaining("not JSON") });
      expect(await heard.next()).toMatchObject({ type: "hello" });
    });

    it("reports a fault from before the connection after the hello, and flush waits for it", async () => {
      startChild();
      command({ send: { type: "fault", message: "no app" }, flush: true });
      expect(await told.next()).toEqual({ event: "sent", result: false });
      await openServer();
      expect(await heard.next()).toMatchObject({ type: "hello" });
      expect(await heard.next()).toEqual({ type: "fault", message: "no app" });
      expect(await told.next()).toEqual({ event: "flushed" });
    });

    it("gives up a supervisor that does not read, with bounded memory", async () => {
      await openServer();
      startChild();
      await heard.next();
      say({ type: "welcome" });
      await told.next();
      sockets[0]?.pause();
      // Skipped and counted messages do not close the connection.
      for (const type of ["recorded", "spans", "stats"]) {
        command({ flood: 8 << 20, with: type });
        expect(await told.next()).toMatchObject({ event: "flooded", largest: expect.toSatisfy((it) => it < 1 << 20) });
      }
      command({ flood: 8 << 20 });
      expect(await told.next()).toMatchObject({ event: "problem", message: expect.stringContaining("does not read") });
      const { largest } = (await told.next()) as { largest: number };
      expect(largest).toBeLessThan(3 << 20);
    });
  });
}
