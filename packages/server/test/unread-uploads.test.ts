/** Clients that disconnect while nobody reads their body: the app is notified, and a stop does not wait for them. */
import { describe, expect, it } from "vitest";
import {
  ask,
  eventually,
  type Program,
  type RuntimeName,
  ScriptedSupervisor,
  startAlone,
  type Target,
  Wire,
} from "./harness.js";

/** More than the runtime and the kernel hold for a reader. */
const SENT_BYTES = 4_000_000;
/** A delayed server seems to stand still; one that continues to read, to detect disconnected clients, reads everything. */
const STILL_MOVING_BYTES = SENT_BYTES / 4;
/** How often it must seem to stand still, in checks 20 ms apart. */
const LOOKS = 5;

const upload = (target: Target, path: string) =>
  new Wire(target).send(
    `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${SENT_BYTES + 1}\r\n\r\n${"x".repeat(SENT_BYTES)}`,
  );

/** Uploads of which the app reads nothing or one piece, and one that it reads later; the first two clients disconnect. */
async function leave(target: Target, { line }: { line: (pattern: RegExp) => Promise<string> }) {
  const later = upload(target, "/later");
  const leaving = ["/untouched", "/touched"].map((path) => upload(target, path));
  for (const path of ["/later", "/untouched", "/touched"]) await line(new RegExp(`^# has ${path}$`));
  await line(/^# reads$/);
  // Nothing moves any more.
  let waiting = Number.NaN;
  let still = 0;
  await eventually("a standstill", () => {
    const before = waiting;
    waiting = [later, ...leaving].reduce((sum, { unsentBytes }) => sum + unsentBytes, 0);
    still = waiting === before ? still + 1 : 0;
    return still === LOOKS || undefined;
  });
  const unsent = later.unsentBytes;
  // A TCP client's FIN comes after its unsent bytes, so nobody sees it; a unix socket has no reset.
  for (const client of leaving) "path" in target ? client.destroy() : client.reset();
  for (const path of ["/untouched", "/touched"]) await line(new RegExp(`^# ${path} is gone$`));
  return { later, takenBytes: unsent - later.unsentBytes };
}

const STYLES = ["fetch", "node"] as const;

const RUNTIMES = ["bun", "node"] satisfies RuntimeName[];

// Concurrent, because each waits for two seconds until the server checks for disconnected clients.
describe.concurrent.each(RUNTIMES)("a client that disconnects while its upload is not read, on %s", (runtime) => {
  it.for(STYLES)("behind the balancer, %s", async (STYLE, { onTestFinished }) => {
    const supervisor = new ScriptedSupervisor();
    await supervisor.listen();
    onTestFinished(() => supervisor.close());
    const spec = STYLE === "fetch" ? { protocol: "http1" } : { protocol: "lane", style: "node" };
    const program: Program = supervisor.spawn(runtime, "unread.mjs", spec, { STYLE });
    // These hooks run from the last to the first.
    onTestFinished(() => program.end());
    await supervisor.hears("ready");
    const { later, takenBytes } = await leave(supervisor.target, { line: (pattern) => program.line(pattern) });
    // Only Bun.serve has no other way to detect disconnected clients.
    if (STYLE === "node") expect(takenBytes).toBeLessThanOrEqual(STILL_MOVING_BYTES);
    await supervisor.hears("stats", ({ inFlight }) => inFlight === 1);
    expect((await ask(supervisor.target, "/go")).body).toBe("gone");
    await later.send("!").gets(new RegExp(`\r\n\r\n${SENT_BYTES + 1} bytes$`));
    supervisor.say({ type: "drain", deadlineMs: 60_000 });
    supervisor.say({ type: "released" });
    expect(await program.exited).toEqual({ code: 0, signal: null });
    later.destroy();
  });

  it.for(STYLES)("alone, %s", async (STYLE, { onTestFinished }) => {
    const server = await startAlone(runtime, "tcp", "unread.mjs", [], { STYLE });
    onTestFinished(() => server.close());
    const { later, takenBytes } = await leave(server.target, { line: (pattern) => server.program.line(pattern) });
    if (STYLE === "node") expect(takenBytes).toBeLessThanOrEqual(STILL_MOVING_BYTES);
    expect((await ask(server.target, "/go")).body).toBe("gone");
    await later.send("!").gets(new RegExp(`\r\n\r\n${SENT_BYTES + 1} bytes$`));
    later.destroy();
  });
});
