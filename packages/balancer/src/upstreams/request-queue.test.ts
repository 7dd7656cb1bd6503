/** The request queue with a time limit and classes: which request goes first, which is refused, and that none is forgotten. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Rank } from "./pending-lines.js";
import { RequestQueue } from "./request-queue.js";

const INTERVAL = 100;
const TARGET = 5;

class Request {
  isWaiting = true;
  order = 0;
  outcome: "waits" | "served" | "refused" | "left" = "waits";

  constructor(
    readonly name: string,
    readonly since: number,
    readonly rank: Rank = Rank.NORMAL,
    readonly isIdempotent = true,
    readonly home = 0,
  ) {}

  end(outcome: Request["outcome"]): void {
    expect(this.outcome).toBe("waits");
    this.outcome = outcome;
    this.isWaiting = false;
  }

  onRefused(): void {
    this.end("refused");
  }
}

function bench(upstreams = 2, maxPending = 100) {
  let now = 1000;
  const queue = new RequestQueue<Request>(maxPending, () => now);
  queue.follow(upstreams, INTERVAL);
  const all: Request[] = [];
  return {
    queue,
    all,
    at: (time: number) => {
      now = time;
    },
    add: (name: string, rank?: Rank, since = now) => {
      const request = new Request(name, since, rank);
      all.push(request);
      return queue.add(request);
    },
    /** An upstream is free for this many requests; returns their names. */
    serve: (times = 1) => {
      const served: string[] = [];
      queue.serve((request) => {
        if (served.length >= times) return undefined;
        served.push(request.name);
        return () => request.end("served");
      });
      return served;
    },
    names: (outcome: Request["outcome"]) => all.filter((each) => each.outcome === outcome).map(({ name }) => name),
  };
}

describe("a burst", () => {
  it("is served in order, and a request may wait for the whole interval", () => {
    const { at, add, serve, names } = bench();
    for (const name of ["a", "b", "c", "d"]) add(name);
    at(1000 + INTERVAL - 1);
    expect(serve(2)).toEqual(["a", "b"]);
    expect(names("refused")).toEqual([]);
  });

  it("never lets a request run that has waited for longer than that", () => {
    const { at, add, serve, names } = bench();
    add("a");
    at(1050);
    add("b");
    at(1000 + INTERVAL);
    serve(0);
    expect(names("refused")).toEqual(["a"]);
    at(1050 + INTERVAL);
    expect(serve(5)).toEqual([]);
    expect(names("refused")).toEqual(["a", "b"]);
  });

  it("that comes and goes never makes it a standing queue", () => {
    const { queue, at, add, serve } = bench();
    for (let time = 1000; time < 3000; time += 60) {
      at(time);
      add("a");
      add("b");
      expect(serve(2)).toEqual(["a", "b"]);
      expect(queue.standing.stands(time)).toBe(false);
    }
  });
});

/** A queue that has not been empty for an interval. */
function standing(upstreams?: number, maxPending?: number) {
  const it = bench(upstreams, maxPending);
  for (let time = 1000; time <= 1000 + INTERVAL; time += 10) {
    it.at(time);
    it.add(`early ${time}`);
    it.serve(time === 1000 ? 0 : 1);
  }
  it.at(1102);
  it.queue.standing.refused(1102);
  return it;
}

describe("a standing queue", () => {
  it("serves the newest first", () => {
    const { queue, at, add, serve } = standing(50);
    expect(queue.standing.stands(1102)).toBe(true);
    add("old");
    at(1104);
    add("new");
    expect(serve(2)).toEqual(["new", "old"]);
  });

  it("after a twentieth of the interval, refuses all but as many as there are upstreams, oldest first", () => {
    const { at, add, names, serve } = standing(2);
    for (const name of ["a", "b", "c", "d"]) add(name);
    at(1102 + TARGET);
    serve(0);
    expect(names("refused").slice(-2)).toEqual(["a", "b"]);
    expect(names("waits")).toEqual(["c", "d"]);
    // A new one takes the place of the oldest.
    add("e");
    expect(names("waits")).toEqual(["d", "e"]);
    at(1102 + INTERVAL - 1);
    serve(0);
    expect(names("waits")).toEqual(["d", "e"]);
    at(1102 + TARGET + INTERVAL);
    serve(0);
    expect(names("waits")).toEqual([]);
  });

  it("is no longer standing when nothing had to be refused for an interval", () => {
    const { queue, at, add, serve } = standing(2);
    serve(50);
    expect(queue.standing.stands(1102 + INTERVAL - 1)).toBe(true);
    for (let time = 1110; time < 1110 + 3 * INTERVAL; time += 30) {
      at(time);
      add("a");
      serve(5);
    }
    expect(queue.standing.stands(1110 + 3 * INTERVAL)).toBe(false);
  });
});

describe("classes", () => {
  it("leave the queue in order of class, whichever came first", () => {
    const { add, serve } = bench();
    add("low", Rank.LOW);
    add("normal");
    add("high 1", Rank.HIGH);
    add("high 2", Rank.HIGH);
    expect(serve(9)).toEqual(["high 1", "high 2", "normal", "low"]);
  });

  it("are refused in the opposite order while the queue stands", () => {
    const { at, add, names, serve } = standing(2);
    serve(50);
    at(1103);
    for (const [name, rank] of [
      ["high", Rank.HIGH],
      ["low", Rank.LOW],
      ["normal", Rank.NORMAL],
    ] as const)
      add(name, rank);
    at(1103 + TARGET);
    serve(0);
    expect(names("waits")).toEqual(["high", "normal"]);
    // A request of a lower class displaces no other.
    add("low 2", Rank.LOW);
    expect(names("waits")).toEqual(["high", "normal", "low 2"]);
    add("high 2", Rank.HIGH);
    expect(names("waits")).toEqual(["high", "low 2", "high 2"]);
  });

  it("displace a lower one in a full queue", () => {
    const { add, names } = bench(2, 2);
    add("low", Rank.LOW);
    add("normal");
    expect(add("normal 2")).toBe(true);
    expect(names("refused")).toEqual(["low"]);
    // The queue was full a moment ago, too, so the newest goes first.
    expect(add("normal 3")).toBe(true);
    expect(add("high", Rank.HIGH)).toBe(true);
    expect(names("waits")).toEqual(["normal 3", "high"]);
    expect(add("low", Rank.LOW)).toBe(false);
  });

  it("of the same rank do not, until the queue is standing", () => {
    const { add, names } = bench(2, 2);
    expect([add("a"), add("b"), add("c")]).toEqual([true, true, false]);
    expect(names("refused")).toEqual([]);
  });
});

it("no request is late while there is no upstream, nor immediately after one is back", () => {
  const { queue, at, add, serve, names } = bench(0);
  add("a");
  add("b");
  at(9000);
  expect(queue.isTimed).toBe(false);
  queue.follow(1, INTERVAL);
  at(9000 + INTERVAL - 1);
  expect(serve(1)).toEqual(["a"]);
  at(9000 + INTERVAL);
  serve(0);
  expect(names("refused")).toEqual(["b"]);
});

it("without a time limit nothing is refused, however long it waits", () => {
  const { queue, at, add, serve, names } = bench();
  queue.follow(2, Number.POSITIVE_INFINITY);
  for (const name of ["a", "b", "c"]) add(name);
  at(1e9);
  expect(serve(2)).toEqual(["a", "b"]);
  expect(names("refused")).toEqual([]);
});

it("every request has one outcome; none is served late or before one of a higher class, or refused early", () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("add" as const),
      rank: fc.constantFrom(Rank.HIGH, Rank.NORMAL, Rank.LOW),
      isIdempotent: fc.boolean(),
      home: fc.nat(2),
    }),
    fc.record({ kind: fc.constant("serve" as const), times: fc.nat(3) }),
    fc.record({ kind: fc.constant("leave" as const), which: fc.nat(9) }),
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(step, fc.nat(30)), { maxLength: 120, size: "max" }),
      fc.integer({ min: 1, max: 4 }),
      (steps, upstreams) => {
        const { queue, at, all } = bench(upstreams, 12);
        let now = 1000;
        for (const [n, [each, afterMs]] of steps.entries()) {
          now += afterMs;
          at(now);
          const before = all.filter(({ isWaiting }) => isWaiting);
          if (each.kind === "add") {
            const request = new Request(`${n}`, now, each.rank, each.isIdempotent, each.home);
            if (queue.add(request)) all.push(request);
          } else if (each.kind === "leave") before[each.which]?.end("left");
          else {
            let left = each.times;
            queue.serve((request) => {
              if (left === 0) return undefined;
              left--;
              return () => {
                request.end("served");
                expect(now - request.since).toBeLessThan(INTERVAL);
                for (const other of all) if (other.isWaiting) expect(other.rank).toBeGreaterThanOrEqual(request.rank);
              };
            });
            // No request may wait while there is room.
            if (left > 0) expect(all.filter(({ isWaiting }) => isWaiting)).toEqual([]);
          }
          // Only a full queue refuses a request that has hardly waited, to make room for another.
          for (const { outcome, since } of before)
            if (outcome === "refused" && now - since < TARGET) expect([each.kind, before.length]).toEqual(["add", 12]);
          expect(queue.length).toBeGreaterThanOrEqual(all.filter(({ isWaiting }) => isWaiting).length);
        }
      },
    ),
    { numRuns: 300 },
  );
});
