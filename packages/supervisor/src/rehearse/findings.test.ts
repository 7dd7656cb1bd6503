/** What is found in which evidence: a row for each fault, and the same evidence without the fault. */
import { describe, expect, test } from "vitest";
import type { DeathFacts, Evidence, PhaseEvidence } from "./evidence.js";
import { findingsOf, holds, notesOf } from "./findings.js";
import { PHASE_NAMES, type PhaseName } from "./phases.js";

function phase(name: PhaseName, changes: Partial<PhaseEvidence> = {}): PhaseEvidence {
  const quiet = { sent: 100, lost: 0, losses: [], repeated: 0, errors: {}, p50: 1, p99: 5, max: 9, failure: null };
  return { name, ...quiet, ...changes };
}

const HEALTHY: Evidence = {
  pools: [{ name: "web", kind: "app", instances: 2 }],
  phases: PHASE_NAMES.map((name) => phase(name)),
  deaths: [],
  lines: [],
  memory: [],
  repeats: [],
  idle: [],
  slow: [],
  stayed: [],
};

function death(changes: Partial<DeathFacts>): DeathFacts {
  return {
    ...{ phase: "term", process: "web.2#1", pool: "web", kind: "exit", code: 0, signal: null, state: "ready" },
    ...{ reason: "exited with code 0 after 3 s", requests: [], lastLines: [], sent: "SIGTERM" },
    ...changes,
  };
}

const UNDER_WAY = [{ request: "GET /", ageMs: 20, state: "running", outcome: "reassigned" }] as const;
const NOT_STARTED = [{ request: "GET /", ageMs: 20, state: "notStarted", outcome: "reassigned" }] as const;

function replaced(name: PhaseName, changes: Partial<PhaseEvidence>): PhaseEvidence[] {
  return HEALTHY.phases.map((each) => (each.name === name ? { ...each, ...changes } : each));
}

/** Bytes of a process, one sample every 200 ms: a level, a growth per sample, and noise. */
function memory(instance: string, growth: number, level = 50e6) {
  const samples = Array.from({ length: 40 }, (_, at) => ({
    ageMs: at * 200,
    bytes: level + growth * at + 100e3 * ((at * 7) % 5),
  }));
  return { pool: "web", instance, samples, requests: 400 };
}

/** A cache that is filled once. */
function step(instance: string) {
  const { samples, ...rest } = memory(instance, 0);
  return { ...rest, samples: samples.map((each, at) => ({ ...each, bytes: each.bytes + (at > 15 ? 60e6 : 0) })) };
}

/** Bodies of two instances in turn. */
function turns(first: (visit: number) => string, second: (visit: number) => string): string[] {
  return Array.from({ length: 8 }, (_, at) => (at % 2 === 0 ? first : second)(Math.floor(at / 2)));
}
const repeated = {
  pool: "web",
  request: "GET /",
  instances: 2,
  cookies: [],
  bodies: [],
  later: [],
  withCookies: { bodies: [], later: [] },
};
const HELLOS = Array.from({ length: 8 }, () => "hello");
/** A server that keeps its clients' cookies. */
const sid = [{ name: "sid", wasKnown: Array.from({ length: 8 }, () => true) }];

const FAULTS: [kind: string, evidence: Partial<Evidence>][] = [
  ["exits-at-once", { deaths: [death({ requests: [...UNDER_WAY] })] }],
  ["exits-at-once", { deaths: [death({ kind: "signal", code: null, signal: "SIGTERM", requests: [...UNDER_WAY] })] }],
  ["crashes", { deaths: [death({ code: 1, reason: "exited with code 1 after 3 s: Error: x" })] }],
  [
    "crashes",
    { deaths: [death({ phase: "reload", sent: null, state: "draining", kind: "signal", signal: "SIGSEGV" })] },
  ],
  ["crashes", { lines: [{ phase: "reload", subject: "web.1", text: "a listener for SIGTERM failed: Error: x" }] }],
  ["stays", { deaths: [death({ phase: "reload", kind: "slow", sent: null, state: "killing" })] }],
  ["stays", { stayed: [{ pool: "web", process: "web.2#1", afterMs: 5_000 }] }],
  [
    "stays",
    {
      lines: [
        { phase: "stop", subject: "web.1", text: "paceline: api.mjs did not exit within 500 ms of SIGTERM: SIGKILL" },
      ],
    },
  ],
  ["stays", { lines: [{ phase: "reload", subject: "web.1", text: "stop() was cut off at the deadline" }] }],
  ["idle-connections", { idle: [{ pool: "web", instance: "web.1", closedAfterMs: 20, wasAnnounced: false }] }],
  [
    "state",
    {
      repeats: [
        {
          ...repeated,
          bodies: turns(
            (n) => `visit ${n + 1}`,
            (n) => `visit ${n + 9}`,
          ),
          later: ["visit 5", "visit 13"],
        },
      ],
    },
  ],
  [
    "state",
    {
      repeats: [
        {
          ...repeated,
          cookies: [
            {
              name: "sid",
              wasKnown: turns(
                () => "y",
                () => "",
              ).map(Boolean),
            },
          ],
        },
      ],
    },
  ],
  ...[
    {
      bodies: turns(
        (n) => `{"visits":${n + 2}}`,
        (n) => `{"visits":${n + 1}}`,
      ),
      later: ['{"visits":6}', '{"visits":5}'],
    },
    {
      bodies: turns(
        () => "hello Ann",
        () => "hello",
      ),
      later: ["hello Ann", "hello"],
    },
  ].map((withCookies): [string, Partial<Evidence>] => [
    "state",
    { repeats: [{ ...repeated, bodies: HELLOS, later: HELLOS.slice(0, 2), cookies: sid, withCookies }] },
  ]),
  ["leaks", { memory: [memory("web.1", 1e6), memory("web.2", 1.1e6)] }],
  [
    "blocks",
    {
      slow: [
        { pool: "web", request: "GET /r", times: [1, 2].map(() => ({ durationMs: 2_000, lagMs: 1_950, behindMs: 0 })) },
      ],
    },
  ],
  [
    "blocks",
    {
      slow: [
        { pool: "web", request: "GET /r", times: [1, 2].map(() => ({ durationMs: 2_000, lagMs: 0, behindMs: 1_800 })) },
      ],
    },
  ],
  ["dies", { deaths: [death({ phase: "steady", sent: null, kind: "hung" })] }],
  ["lost", { phases: replaced("reload", { lost: 2, losses: [{ request: "GET /", how: "reset", ms: 3 }] }) }],
  ["lost", { phases: replaced("kill", { lost: 1, losses: [{ request: "GET /", how: "503", ms: 5 }] }) }],
  ["overload", { phases: replaced("kill", { lost: 1, losses: [{ request: "GET /", how: "503", ms: 5_002 }] }) }],
  ["errors", { phases: replaced("reload", { errors: { "GET /": 3 } }) }],
  ["repeated", { phases: replaced("steady", { repeated: 3 }) }],
  ["failed", { phases: replaced("scale", { failure: { message: "web.3 failed to start", lastLines: ["Error"] } }) }],
];

const HARMLESS: [what: string, evidence: Partial<Evidence>][] = [
  ["nothing", {}],
  [
    "a balancer that waits for idle clients",
    { lines: [{ phase: "stop", subject: "balancer.1", text: "did not drain within 2 s: SIGTERM" }] },
  ],
  ["an instance that drains on SIGTERM", { deaths: [death({ requests: [...NOT_STARTED] })] }],
  [
    "an instance that the rehearsal has killed",
    {
      deaths: [death({ phase: "kill", sent: "SIGKILL", kind: "signal", signal: "SIGKILL", requests: [...UNDER_WAY] })],
    },
  ],
  [
    "connections that are kept",
    { idle: [{ pool: "web", instance: "web.1", closedAfterMs: null, wasAnnounced: false }] },
  ],
  [
    "connections whose end is announced",
    { idle: [{ pool: "web", instance: "web.1", closedAfterMs: 5, wasAnnounced: true }] },
  ],
  [
    "the same bodies",
    {
      repeats: [
        {
          ...repeated,
          bodies: turns(
            () => "a 1",
            () => "a 1",
          ),
          later: ["a 1", "a 1"],
        },
      ],
    },
  ],
  [
    "names of instances",
    {
      repeats: [
        {
          ...repeated,
          bodies: turns(
            () => "web.1",
            () => "web.2",
          ),
          later: ["web.1", "web.2"],
        },
      ],
    },
  ],
  [
    "one count for all",
    {
      repeats: [
        { ...repeated, bodies: Array.from({ length: 8 }, (_, at) => `visit ${at}`), later: ["visit 8", "visit 9"] },
      ],
    },
  ],
  [
    "counts that begin again by themselves",
    {
      repeats: [
        {
          ...repeated,
          bodies: turns(
            (n) => `${n + 4}`,
            (n) => `${n + 9}`,
          ),
          later: ["1", "1"],
        },
      ],
    },
  ],
  [
    "a clock",
    {
      repeats: [
        { ...repeated, bodies: Array.from({ length: 8 }, (_, at) => `${1000 + at * 3}`), later: ["2000", "2003"] },
      ],
    },
  ],
  [
    "a cookie that changes with each response",
    { repeats: [{ ...repeated, cookies: [{ name: "sid", wasKnown: Array(8).fill(false) }] }] },
  ],
  ["a cookie that all know", { repeats: [{ ...repeated, cookies: [{ name: "sid", wasKnown: Array(8).fill(true) }] }] }],
  [
    "a page that shows its instance, also with a cookie",
    {
      repeats: [
        {
          ...{ ...repeated, cookies: sid },
          bodies: turns(
            () => "web.1",
            () => "web.2",
          ),
          withCookies: {
            bodies: turns(
              () => "Ann, web.1",
              () => "Ann, web.2",
            ),
            later: [],
          },
        },
      ],
    },
  ],
  [
    "a cookie that is renewed once",
    {
      repeats: [
        { ...repeated, cookies: [{ name: "sid", wasKnown: [true, true, true, false, true, true, true, true] }] },
      ],
    },
  ],
  ["memory that stays", { memory: [memory("web.1", 0), memory("web.2", 0)] }],
  [
    "memory that grows in one instance of three",
    { memory: [memory("web.1", 1e6), memory("web.2", 0), memory("web.3", 0)] },
  ],
  ["memory that has grown once", { memory: [step("web.1"), step("web.2")] }],
  [
    "the memory of a small process that grows a little",
    { memory: [memory("web.1", 100e3, 20e6), memory("web.2", 100e3, 20e6)] },
  ],
  ["a request or two that were repeated, as beside other work", { phases: replaced("steady", { repeated: 2 }) }],
  ["requests that went to another instance", { phases: replaced("reload", { repeated: 5 }) }],
  ["memory that grows a little", { memory: [memory("web.1", 50e3), memory("web.2", 50e3)] }],
  [
    "a slow request that waits",
    {
      slow: [
        { pool: "web", request: "GET /r", times: [1, 2].map(() => ({ durationMs: 2_000, lagMs: 3, behindMs: 5 })) },
      ],
    },
  ],
  [
    "a machine that stood still once",
    {
      slow: [
        {
          pool: "web",
          request: "GET /r",
          times: [
            { durationMs: 2_000, lagMs: 1_900, behindMs: 0 },
            { durationMs: 20, lagMs: 3, behindMs: 0 },
          ],
        },
      ],
    },
  ],
  [
    "requests lost with the only instance",
    { pools: [{ name: "web", kind: "app", instances: 1 }], phases: replaced("kill", { lost: 2 }) },
  ],
  ["errors that the app always has", { phases: PHASE_NAMES.map((name) => phase(name, { errors: { "GET /": 9 } })) }],
  ["slow requests", { phases: replaced("reload", { p99: 4_000 }) }],
];

describe("findingsOf", () => {
  test.each(FAULTS)("finds %s %#", (kind, changes) => {
    const found = findingsOf({ ...HEALTHY, ...changes });
    expect(found.map((finding) => finding.kind)).toEqual([kind]);
    const [{ what, todo } = { what: "", todo: "" }] = found;
    expect([what, todo].join("\n")).not.toMatch(/undefined|null|NaN|\[object/);
    expect(todo).toMatch(/^[A-Z].*\.$/);
  });

  test.each(HARMLESS)("finds nothing in %s", (_, changes) => {
    expect(findingsOf({ ...HEALTHY, ...changes })).toEqual([]);
  });

  test("a cause explains the losses of its phases, and only those", () => {
    const phases = HEALTHY.phases.map((each) =>
      each.name === "term" || each.name === "stop"
        ? { ...each, lost: 1, losses: [{ request: "GET /", how: "cut", ms: 1 }] }
        : each,
    );
    const found = findingsOf({ ...HEALTHY, phases, deaths: [death({ code: 1 })] });
    expect(found.map(({ kind, what }) => `${kind} ${what.split(" ", 1)[0]}`)).toEqual(["crashes web", "lost stop:"]);
    const broken = phases.filter((each) => !holds(each, found)).map(({ name }) => name);
    expect(broken).toEqual(["term", "stop"]);
  });

  test.each(["command", "wsgi", "fapws", "asgi"])(
    "a process of kind %s that had requests on their way causes a note",
    (kind) => {
      const pools = [{ name: "web", kind, instances: 2 }];
      const evidence = { ...HEALTHY, pools, deaths: [death({ requests: [...UNDER_WAY] })] };
      expect(findingsOf(evidence)).toEqual([]);
      expect(notesOf(evidence)).toEqual([
        expect.stringMatching(/^web.2#1 exited on a SIGTERM from outside while a request/),
      ]);
    },
  );

  test("slow phases cause a note", () => {
    expect(notesOf(HEALTHY)).toEqual([]);
    expect(notesOf({ ...HEALTHY, phases: replaced("reload", { p99: 4_000 }) })).toHaveLength(1);
    // Delays are expected in this phase.
    expect(notesOf({ ...HEALTHY, phases: replaced("pause", { p99: 4_000 }) })).toEqual([]);
  });
});
