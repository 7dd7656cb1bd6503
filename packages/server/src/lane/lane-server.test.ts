/** When a server over lanes is idle again, and what its requests cost. */
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { loadStreams } from "./lane-connection.js";
import { CostMeter, serveLanes } from "./lane-server.js";
import type { ResponseReader } from "./response-reader.js";

const RESPONSES: ResponseReader = {
  isResponse: (value): value is Response => value instanceof Response,
  fields: () => ({ text: "", contentLength: -1, hasContentType: true }),
  body: () => "body",
};

function frame(type: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUIntLE(payload.length, 0, 3);
  header[3] = type;
  header.writeUInt32LE(stream, 4);
  return Buffer.concat([header, payload]);
}

const HELLO = frame(1, 0, Buffer.from([...Buffer.from("PCLN"), 3, 0, 0, 0, 1, 0, 0, 0, 0, 0]));
/** GET / without a host and without fields. */
const get = (stream: number) => frame(2, stream, Buffer.from([1, 3, 0, 0, 1, 0, 0, 0, 0, 0, 47]));

/** A server over a lane whose handler responds when the test says so, and the balancer's end of the lane. */
async function serverAndLane() {
  await loadStreams();
  const directory = mkdtempSync(join(tmpdir(), "paceline-lane-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "lane.sock");
  const response: (() => void)[] = [];
  const handler = () => new Promise<Response>((resolve) => response.push(() => resolve(new Response("body"))));
  const onError = () => undefined;
  const options = { address: { kind: "unix", path }, limits: DEFAULT_LIMITS, onError } as never;
  const server = await serveLanes(handler, RESPONSES, options);
  onTestFinished(() => server.closeNow());
  const client = net.connect(path);
  let received = "";
  client.setEncoding("latin1").on("data", (text: string) => {
    received += text;
  });
  onTestFinished(() => void client.destroy());
  client.write(Buffer.concat([HELLO, get(0), get(1)]));
  await expect.poll(() => response.length).toBe(2);
  // Its HELLO ends with the pid of its process, which a balancer may watch.
  await expect.poll(() => received.length).toBeGreaterThanOrEqual(28);
  expect(Buffer.from(received, "latin1").readUInt32LE(8 + 16)).toBe(process.pid);
  return { server, response, received: () => received };
}

test("a request counts once, even while the balancer has not confirmed the GOAWAY of the server", async () => {
  const { server, response } = await serverAndLane();
  expect(server.inFlight()).toBe(2);
  server.markResponsesClose();
  expect(server.inFlight()).toBe(2);
  for (const give of response) give();
  // A further request may already have been sent.
  await expect.poll(() => server.inFlight()).toBe(1);
});

test("a response that waits for the end of its turn is still in flight: a stopping server must not cut it off", async () => {
  const { server, response, received } = await serverAndLane();
  // The first response follows a silence, so it is sent immediately; the second one waits for the end of the turn, if no time passes in
  // between.
  const clock = vi.spyOn(performance, "now").mockReturnValue(performance.now() + 1000);
  for (const give of response) give();
  for (let n = 0; n < 10; n++) await undefined;
  clock.mockRestore();
  expect(server.inFlight()).toBeGreaterThan(0);
  await expect.poll(() => server.inFlight()).toBe(0);
  await expect.poll(() => received().split("body").length - 1).toBe(2);
});

test("the CPU time per request leaves out the start of the process, the first requests and pauses", () => {
  const now = { started: 0, micros: 0 };
  const meter = new CostMeter(
    () => now.started,
    () => now.micros,
  );
  /** @returns the reported requests and microseconds */
  const measure = (nowMs: number, started: number, micros: number) => {
    Object.assign(now, { started, micros });
    return meter.measure(nowMs) ? [meter.requests, meter.micros] : undefined;
  };
  // The balancer's HELLO, then the first requests, whose code was loaded for them.
  expect(measure(5000, 0, 900_000)).toBeUndefined();
  expect(measure(5150, 30, 960_000)).toBeUndefined();
  expect(measure(5240, 60, 961_000)).toBeUndefined();
  expect(measure(5250, 70, 961_200)).toEqual([40, 1200]);
  expect(measure(5350, 70, 961_300)).toBeUndefined();
  expect(measure(7350, 72, 961_400)).toEqual([2, 100]);
  // Meanwhile the app has done something else.
  expect(measure(9351, 80, 1_700_000)).toBeUndefined();
  expect(measure(9451, 90, 1_700_500)).toEqual([10, 500]);
  // One request that computes for long.
  expect(measure(14_451, 91, 6_600_500)).toEqual([1, 4_900_000]);
});
