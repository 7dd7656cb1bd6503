/** Both real ends of a lane connected with each other: in any order of events no byte is lost, doubled or misdirected. */
import fc from "fast-check";
import { beforeAll, describe, it } from "vitest";
import { loadStreams } from "../packages/server/src/lane/lane-connection.js";
import type { ResponseReader } from "../packages/server/src/lane/response-reader.js";
import { prepareResponses } from "../packages/server/src/lane/responses.js";
import { LaneWorld, type Plan, STYLES } from "./support/lane-world.js";

type Step =
  | { do: "open"; plan: Plan }
  | { do: "upload"; request: number; bytes: number }
  | { do: "cancel"; request: number }
  | { do: "pause" | "resume"; request: number }
  | { do: "read"; request: number; times: number }
  | { do: "move up" | "move down"; bytes: number }
  | { do: "make room"; up: number; down: number }
  | { do: "end the turn" };

const SMALL: Plan = { method: "GET", uploadBytes: 0, responseBytes: 10, blockBytes: 10, style: "bytes" };

const size = fc.oneof(fc.nat(100), fc.nat(20_000), fc.nat(400_000));
const plan: fc.Arbitrary<Plan> = fc.record({
  method: fc.constantFrom("GET", "POST", "PUT"),
  uploadBytes: size.map((bytes) => bytes + 1),
  responseBytes: size,
  blockBytes: fc.oneof(fc.integer({ min: 1000, max: 20_000 }), fc.integer({ min: 1000, max: 200_000 })),
  style: fc.constantFrom(...STYLES),
});

const request = fc.nat(7);
const one = <T extends Step>(weight: number, arbitrary: fc.Arbitrary<T>) => ({ weight, arbitrary });
const step: fc.Arbitrary<Step> = fc.oneof(
  one(4, fc.record({ do: fc.constant("open" as const), plan })),
  one(4, fc.record({ do: fc.constant("upload" as const), request, bytes: size })),
  one(1, fc.record({ do: fc.constant("cancel" as const), request })),
  one(2, fc.record({ do: fc.constantFrom("pause" as const, "resume" as const), request })),
  one(3, fc.record({ do: fc.constant("read" as const), request, times: fc.nat(5) })),
  one(10, fc.record({ do: fc.constantFrom("move up" as const, "move down" as const), bytes: size })),
  one(2, fc.record({ do: fc.constant("make room" as const), up: size, down: size })),
  one(6, fc.record({ do: fc.constant("end the turn" as const) })),
);

async function take(step: Step, world: LaneWorld): Promise<void> {
  // One of the last requests, because those are in flight.
  const asked = "request" in step ? world.requests.at(-1 - (step.request % world.requests.length)) : undefined;
  switch (step.do) {
    case "open":
      world.open(step.plan);
      return;
    case "upload":
      return asked?.upload(step.bytes);
    case "cancel":
      return asked?.cancel();
    case "pause":
    case "resume":
      return asked?.setPaused(step.do === "pause");
    case "read":
      return asked?.read(step.times);
    case "move up":
      return world.moveUp(step.bytes);
    case "move down":
      return world.moveDown(step.bytes);
    case "make room":
      return world.makeRoom(step.up, step.down);
    case "end the turn":
      return world.turn();
  }
}

describe("a lane between the balancer's end and an instance's", () => {
  let responses: ResponseReader;

  beforeAll(async () => {
    await loadStreams();
    const prepared = await prepareResponses();
    responses = prepared.responses;
    return prepared.restore;
  });

  it("carries every request to its end, whatever is sent, read, held up and given up in whatever order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 10, maxLength: 150, size: "max" }),
        fc.constantFrom(0, 262_144),
        async (steps, highWater) => {
          const world = new LaneWorld(responses, highWater);
          for (const each of steps) {
            await take(each, world);
            world.expectNoProblem();
          }
          await world.settle();
          // No slot was lost, and none is used twice.
          for (let i = 0; i < 100; i++) if (world.open(SMALL) === undefined) throw new Error("no room");
          await world.settle();
        },
      ),
      { numRuns: 300 },
    );
  });

  it("carries many large uploads at once to their ends: none waits for a grant that its instance holds back", async () => {
    const world = new LaneWorld(responses, 0);
    // What all of them may hold back is more than an instance may have of all bodies.
    for (let n = 0; n < 60; n++) world.open({ ...SMALL, method: "PUT", uploadBytes: 1_500_000 });
    await world.settle();
  });
});
