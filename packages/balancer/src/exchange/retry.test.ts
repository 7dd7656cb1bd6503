import { describe, expect, it } from "vitest";
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import { PoisonBook } from "./poison.js";
import type { Relay } from "./relay.js";
import { LostStarts, mayStartAgain, mayTryElsewhere } from "./retry.js";

/** A loss: its kind, whether the request was the only one there, and what else the upstream was doing. */
type Loss = [loss: UpstreamLoss, isOnly: boolean, what?: typeof DRAINING | typeof CANARY];

const [ALONE, AMONG_OTHERS, DRAINING, CANARY] = [true, false, "draining", "canary"] as const;

/** The number of processes that the request counts as having crashed. */
function blamed(losses: Loss[], knownBefore = 0): number {
  const processes = new Set<string>();
  const poison = new PoisonBook(() => {});
  for (let n = 0; n < knownBefore; n++) poison.record("web", "GET /x", `before#${n}`, 0);
  const { record } = poison;
  poison.record = (pool, request, process, now) => {
    processes.add(process);
    record.call(poison, pool, request, process, now);
  };
  const lost = new LostStarts({ poison, deadlines: { now: 0 } } as unknown as Relay);
  for (const [at, [loss, isOnly, what]] of losses.entries()) {
    lost.note(
      loss,
      { id: `web.${at}#1`, isCanary: what === CANARY, isDraining: () => what === DRAINING } as unknown as Upstream,
      isOnly,
      "web",
      "GET /x",
    );
  }
  expect(lost.count).toBe(losses.length);
  return processes.size;
}

describe("a request that was lost where it may have started is assumed to have crashed the process", () => {
  const cases: [string, Loss[], number, number?][] = [
    ["if it was the only one there", [["closed", ALONE]], 1],
    ["if its handler was being called", [["fatal", AMONG_OTHERS]], 1],
    ["not if it is one of several", [["closed", AMONG_OTHERS]], 0],
    [
      "if it is one of several for the second time, of both then",
      [
        ["closed", AMONG_OTHERS],
        ["closed", AMONG_OTHERS],
      ],
      2,
    ],
    ["if it is one of several and known for it", [["closed", AMONG_OTHERS]], 1, 2],
    ["not if another's handler was being called", [["bystander", ALONE]], 0],
    [
      "not for the second time either",
      [
        ["bystander", AMONG_OTHERS],
        ["bystander", AMONG_OTHERS],
      ],
      0,
    ],
    [
      "not if it may have waited for a request whose client had gone, also twice",
      [
        ["behindAbandoned", ALONE],
        ["behindAbandoned", ALONE],
      ],
      0,
    ],
    ["not if the process only fell silent", [["stalled", ALONE]], 0],
    ["not if the connection may have been closed before", [["staleConnection", ALONE]], 0],
    [
      "then with the next loss, of both",
      [
        ["staleConnection", ALONE],
        ["closed", ALONE],
      ],
      2,
    ],
    ["not if the process drained", [["closed", ALONE, DRAINING]], 0],
    ["not if the process was a canary, whose release is taken back", [["fatal", ALONE, CANARY]], 0],
    [
      "if it ended a process in service as well, of both",
      [
        ["fatal", ALONE, CANARY],
        ["fatal", ALONE],
      ],
      2,
    ],
    ["though it drained, if it was running this", [["fatal", ALONE, DRAINING]], 1],
  ];
  it.each(cases)("%s", (_, losses, count, knownBefore) => {
    expect(blamed(losses, knownBefore)).toBe(count);
  });
});

describe("a request that may have started", () => {
  it.each([
    [1, true, true],
    [2, true, false],
    [1, false, false],
  ])("at %s upstreams, idempotent: %s, may start at another: %s", (starts, isIdempotent, isAllowed) => {
    expect(mayStartAgain(isIdempotent, starts)).toBe(isAllowed);
    const attempted = { sends: 1, starts, wasSent: true, isIdempotent, isBodyBuffered: true, isPoison: false };
    expect(mayTryElsewhere("closed", attempted)).toBe(isAllowed);
  });
});
