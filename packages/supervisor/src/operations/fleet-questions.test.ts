/** When it is certain that a start has failed. */
import { describe, expect, test } from "vitest";
import type { Fleet, Slot } from "../core/fleet.js";
import { SlotBook } from "../processes/slot-book.js";
import { fleetState, readiness } from "./fleet-questions.js";

const LATE = "was not ready within 30 s (readyTimeoutMs); ended";

/** Slots of the pool `web` that have failed `failures` times and may have been ready before. */
function slotsOf(...made: { failures: number; reason?: string; everReady?: boolean; state?: string }[]) {
  const book = new SlotBook();
  const slots = made.map(({ failures, reason, everReady = false, state = "starting" }, at) => {
    const name = `web.${at + 1}`;
    const lastExit = reason === undefined ? null : { code: 1, signal: null, at: 0, reason, lastLines: ["last"] };
    Object.assign(book.of(name), { everReady, lastExit });
    return { name, index: at + 1, member: { process: { state, failures } } } as unknown as Slot;
  });
  return { slots, book };
}

test.each([
  ["a first start that is late", [{ failures: 1, reason: LATE }], {}, LATE],
  ["a crash, which may be random", [{ failures: 1, reason: "exited with code 1" }], {}, undefined],
  ["a second crash", [{ failures: 2, reason: "exited with code 1" }], {}, "exited with code 1"],
  [
    "its pool has served",
    [
      { failures: 1, reason: LATE },
      { failures: 0, everReady: true },
    ],
    {},
    undefined,
  ],
  ["a scaling", [{ failures: 1, reason: LATE }], { areNew: true }, undefined],
  ["a command", [{ failures: 1, reason: LATE }], { workloadOf: () => ({ command: {} }) }, "let it listen on $PORT"],
  [
    "an app",
    [{ failures: 1, reason: LATE }],
    { workloadOf: () => ({ app: {} }) },
    "with --worker if it serves nothing",
  ],
])("%s", (_, made, options, failure) => {
  const { slots, book } = slotsOf(...made);
  const result = readiness(slots, book, "all ready", options);
  if (failure === undefined) expect(result).toBeUndefined();
  else expect(result).toMatchObject({ ok: false, message: expect.stringContaining(failure), lastLines: ["last"] });
});

describe("the state of a fleet", () => {
  const [former, further] = [{ failures: 0, everReady: true }, { failures: 0 }];

  test.each([
    ["without pools yet", undefined, {}, "starting"],
    ["that starts", [former, further], {}, "starting"],
    ["whose start is over", [former, former], {}, "running"],
    ["that wants no instance", [], {}, "running"],
    ["whose new instance is not ready yet", [former, further], { hasStarted: true }, "running"],
    ["whose new instance never gets ready", [former, { failures: 9 }], { hasStarted: true }, "running"],
    ["that stops", [former, former], { hasStarted: true, isStopping: true }, "stopping"],
    ["that stops within its start", [further], { isStopping: true }, "stopping"],
  ])("%s", (_, made, is, state) => {
    const { slots, book } = slotsOf(...(made ?? []));
    const pools = made === undefined ? [] : [{ name: "web", wanted: slots.length, slots }];
    const fleet = { pools } as unknown as Fleet;
    expect(fleetState(fleet, book, { hasStarted: false, isStopping: false, ...is })).toBe(state);
  });
});
