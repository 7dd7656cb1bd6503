/** Orders stay within the limits of a CA whatever it responds, certificates are renewed in time, and an outage removes none. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { hold } from "../../../../test/support/hold.js";
import {
  adoptIssued,
  beginOrder,
  failOrder,
  forceOrder,
  isLate,
  isRecalled,
  learnWindow,
  MAX_ORDERS_PER_HOUR,
  MAX_ORDERS_PER_NAME_AND_HOUR,
  mayForget,
  type NamePlan,
  NEW_BUDGET,
  newPlan,
  nextStep,
  type OrderBudget,
  type OrderFailure,
  type PlanRules,
  retryNow,
  stateOf,
  succeedOnStaging,
  succeedOrder,
  type Validity,
} from "./acme-plan.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2026, 10, 1);
const RULES: PlanRules = { challenges: ["tls-alpn-01", "http-01"], hasStaging: false };
const WITH_STAGING: PlanRules = { ...RULES, hasStaging: true };

const lasting = (days: number, from = NOW): Validity => ({ notBefore: from, notAfter: from + days * DAY });
const withCertificate = (issued = lasting(90), random = 0): NamePlan => ({
  ...succeedOrder(newPlan("shop.example"), { issued, challenge: "http-01" }, issued.notBefore, random),
  // The CA was asked just before the renewal.
  askWindowAt: issued.notAfter - (issued.notAfter - issued.notBefore) / 3 + HOUR,
});
const fails = (plan: NamePlan, failure: Partial<OrderFailure>, now = NOW, rules = RULES, budget = NEW_BUDGET) =>
  failOrder(
    beginOrder(plan, budget, now).plan,
    beginOrder(plan, budget, now).budget,
    { kind: "refused", message: "no", onStaging: false, ...failure } as OrderFailure,
    rules,
    { now, random: 0 },
  );

describe("the next step", () => {
  const asks = { ...withCertificate(), askWindowAt: NOW };
  const rows: [name: string, plan: NamePlan, at: number, step: string][] = [
    ["orders at once without a certificate", newPlan("a.example"), NOW, "order"],
    ["waits until two thirds of the lifetime", withCertificate(), NOW + 59.5 * DAY, "wait until day 60"],
    ["renews then", withCertificate(), NOW + 60 * DAY, "order"],
    ["renews up to a twentieth of the lifetime earlier", withCertificate(lasting(90), 1), NOW + 55.5 * DAY, "order"],
    ["asks for the window of the CA", asks, NOW, "askWindow"],
    ["renews rather than ask", { ...asks, renewAt: NOW }, NOW, "order"],
    ["renews an expired one", withCertificate(lasting(90)), NOW + 100 * DAY, "order"],
    ["orders when an operator wants it", forceOrder(withCertificate()), NOW, "order"],
    ["waits after a failure", fails(newPlan("a.example"), {}).plan, NOW, "wait until 1 min"],
    ["orders again after it", fails(newPlan("a.example"), {}).plan, NOW + 2 * MINUTE, "order"],
    [
      "does not wait longer if the clock is set back",
      fails(newPlan("a.example"), {}, NOW + 9 * DAY).plan,
      NOW,
      "order",
    ],
    ["asks the CA if the clock is set back", { ...asks, askWindowAt: NOW + 99 * DAY }, NOW, "askWindow"],
  ];
  test.each(rows)("%s", (_, plan, at, expected) => {
    const step = nextStep(plan, NEW_BUDGET, RULES, at);
    const until = step.do === "wait" ? step.until - NOW : 0;
    const said =
      step.do !== "wait"
        ? step.do
        : `wait until ${until >= DAY ? `day ${until / DAY}` : `${Math.round(until / MINUTE)} min`}`;
    expect(said).toBe(expected);
  });
});

describe("a failed challenge", () => {
  it("leads to the next kind immediately, then to a pause", () => {
    const first = fails(newPlan("a.example"), { kind: "challenge", challenge: "tls-alpn-01" });
    expect(nextStep(first.plan, first.budget, RULES, NOW + 3_000)).toEqual({
      ...{ do: "order", challenges: ["http-01"], onStaging: false },
    });
    const second = fails(first.plan, { kind: "challenge", challenge: "http-01" }, NOW + 3_000, RULES, first.budget);
    expect(nextStep(second.plan, second.budget, RULES, NOW + 4_000)).toEqual({ do: "wait", until: NOW + 63_000 });
    expect(nextStep(second.plan, second.budget, RULES, NOW + 64_000)).toEqual({
      ...{ do: "order", challenges: ["tls-alpn-01", "http-01"], onStaging: false },
    });
  });

  it("is followed by the staging directory, and by the real one when that succeeds", () => {
    const only: PlanRules = { challenges: ["http-01"], hasStaging: true };
    const failed = fails(newPlan("a.example"), { kind: "challenge", challenge: "http-01" }, NOW, only);
    const after = NOW + 2 * MINUTE;
    expect(nextStep(failed.plan, failed.budget, only, after)).toMatchObject({ do: "order", onStaging: true });
    const staged = succeedOnStaging(beginOrder(failed.plan, failed.budget, after).plan, "http-01");
    expect(nextStep(staged, failed.budget, only, after)).toMatchObject({ do: "order", onStaging: false });
  });

  it("counts within an hour, but not on staging", () => {
    let state = { plan: newPlan("a.example"), budget: NEW_BUDGET };
    let onReal = 0;
    for (let now = NOW; now < NOW + HOUR; now += 1_000) {
      const step = nextStep(state.plan, state.budget, RULES, now);
      if (step.do !== "order") continue;
      onReal++;
      state = fails(
        state.plan,
        { kind: "challenge", challenge: step.challenges[0] as "http-01" },
        now,
        RULES,
        state.budget,
      );
    }
    expect(onReal).toBe(4);
  });

  it("of a renewal that an operator requested leads to the other kind, too", () => {
    const forced = forceOrder({ ...withCertificate(), proven: "tls-alpn-01" });
    const first = fails(forced, { kind: "challenge", challenge: "tls-alpn-01" });
    expect(nextStep(first.plan, first.budget, RULES, NOW)).toMatchObject({ do: "order", challenges: ["http-01"] });
    const second = fails(first.plan, { kind: "challenge", challenge: "http-01" }, NOW, RULES, first.budget);
    expect(nextStep(second.plan, second.budget, RULES, NOW + DAY).do).not.toBe("order");
  });

  it("is followed by the kind that succeeded last", () => {
    const plan = withCertificate();
    expect(nextStep(forceOrder(plan), NEW_BUDGET, RULES, NOW)).toMatchObject({
      challenges: ["http-01", "tls-alpn-01"],
    });
  });
});

describe("a failed order", () => {
  const rows: [name: string, plan: NamePlan, failure: Partial<OrderFailure>, minutes: number][] = [
    ["of a CA that does not respond pauses for all", newPlan("a.example"), { kind: "unreachable" }, 0.5],
    [
      "of a CA that does not respond pauses as long as it says",
      newPlan("a.example"),
      { kind: "unreachable", retryAfterMs: 7 * MINUTE },
      7,
    ],
    ["of a refused account pauses for all", newPlan("a.example"), { kind: "account" }, 10],
    [
      "of a rate limit waits as long as the CA says",
      newPlan("a.example"),
      { kind: "limited", retryAfterMs: 5 * HOUR },
      300,
    ],
    ["of a rate limit waits for an hour", newPlan("a.example"), { kind: "limited" }, 60],
    ["never waits longer than a day", newPlan("a.example"), { kind: "limited", retryAfterMs: 400 * DAY }, 24 * 60],
    ["of a refused name waits", newPlan("a.example"), { kind: "refused" }, 1],
    ["of this machine waits", newPlan("a.example"), { kind: "local" }, 1],
    [
      "waits for an hour at most without a certificate",
      { ...newPlan("a.example"), failures: 9 },
      { kind: "refused" },
      60,
    ],
    [
      "waits longer with one",
      { ...withCertificate(), failures: 9, askWindowAt: NOW + DAY, renewAt: NOW },
      { kind: "refused" },
      12 * 60,
    ],
    [
      "waits less when it expires soon",
      { ...withCertificate(lasting(1)), failures: 9, renewAt: NOW },
      { kind: "refused" },
      3 * 60,
    ],
  ];
  test.each(rows)("%s", (_, plan, failure, minutes) => {
    const { plan: next, budget } = fails(plan, failure);
    expect(next.issued).toEqual(plan.issued);
    expect(next.lastError).toMatchObject({ at: NOW, message: "no" });
    const step = nextStep(next, budget, RULES, NOW);
    expect(step.do === "wait" ? (step.until - NOW) / MINUTE : step).toBe(minutes);
  });

  it("allows an immediate attempt after the configuration changed", () => {
    const { plan } = fails({ ...newPlan("a.example"), failures: 9 }, {}, NOW, WITH_STAGING);
    expect(nextStep(retryNow(plan), NEW_BUDGET, WITH_STAGING, NOW)).toMatchObject({ do: "order", onStaging: false });
  });
});

describe("the window of the CA", () => {
  const window = { start: NOW + 10 * DAY, end: NOW + 12 * DAY, explanation: null };
  it("decides, with a random time in it, chosen once", () => {
    const plan = learnWindow(withCertificate(), window, undefined, { now: NOW, random: 0.5 });
    expect(plan.renewAt).toBe(NOW + 11 * DAY);
    expect(plan.askWindowAt).toBe(NOW + 6 * HOUR);
    expect(learnWindow(plan, window, undefined, { now: NOW, random: 0.9 }).renewAt).toBe(NOW + 11 * DAY);
    expect(learnWindow(plan, { ...window, end: NOW + 13 * DAY }, undefined, { now: NOW, random: 1 }).renewAt).toBe(
      NOW + 13 * DAY,
    );
  });

  test.each([
    [undefined, 6 * HOUR],
    [1_000, 10 * MINUTE],
    [2 * HOUR, 2 * HOUR],
    [99 * DAY, DAY],
  ])("is requested again after the time that the CA states: %s", (retryAfterMs, expected) => {
    const plan = learnWindow(withCertificate(), window, retryAfterMs, { now: NOW, random: 0 });
    expect(plan.askWindowAt - NOW).toBe(expected);
  });

  it("never leaves too little time, and counts only if it is valid", () => {
    const late = { start: NOW + 95 * DAY, end: NOW + 99 * DAY, explanation: null };
    expect(learnWindow(withCertificate(), late, undefined, { now: NOW, random: 0 }).renewAt).toBe(NOW + 89 * DAY);
    const wrong = { start: NOW + 9 * DAY, end: NOW, explanation: null };
    expect(learnWindow(withCertificate(), wrong, undefined, { now: NOW, random: 0 }).renewAt).toBe(NOW + 60 * DAY);
    expect(learnWindow(withCertificate(), undefined, undefined, { now: NOW, random: 0 }).renewAt).toBe(NOW + 60 * DAY);
  });

  it("reports a revocation", () => {
    const past = { start: NOW - 2 * DAY, end: NOW - DAY, explanation: "https://ca.example/why" };
    const plan = learnWindow(withCertificate(), past, undefined, { now: NOW, random: 0 });
    expect(isRecalled(plan, NOW)).toBe(true);
    expect(nextStep(plan, NEW_BUDGET, RULES, NOW).do).toBe("order");
    expect(isRecalled(learnWindow(withCertificate(), window, undefined, { now: NOW, random: 0 }), NOW)).toBe(false);
  });
});

test("a stored certificate needs no order, and keeps its time of renewal", () => {
  const issued = lasting(90);
  const kept = adoptIssued(newPlan("a.example"), issued, 0);
  expect(kept.renewAt).toBe(NOW + 60 * DAY);
  expect(adoptIssued({ ...kept, renewAt: NOW + 5 }, issued, 0.5).renewAt).toBe(NOW + 5);
});

test.each([
  [newPlan("a.example"), false, NOW, "none"],
  [newPlan("a.example"), true, NOW, "ordering"],
  [fails(newPlan("a.example"), {}).plan, false, NOW, "failed"],
  [withCertificate(), false, NOW, "valid"],
  [withCertificate(), true, NOW, "renewing"],
  [withCertificate(), false, NOW + 91 * DAY, "expired"],
] as const)("the state of %j", (plan, isOrdering, now, expected) => {
  expect(stateOf(plan, isOrdering, now)).toBe(expected);
});

test("a renewal that fails for a long time is late", () => {
  const failed = fails({ ...withCertificate(), renewAt: NOW + 60 * DAY }, {}, NOW + 60 * DAY).plan;
  expect(isLate(failed, NOW + 61 * DAY)).toBe(false);
  expect(isLate(failed, NOW + 69 * DAY)).toBe(true);
});

test("the plan of a removed name is kept while its orders count", () => {
  const { plan } = beginOrder(newPlan("a.example"), NEW_BUDGET, NOW);
  expect(mayForget(plan, NOW + HOUR - 1)).toBe(false);
  expect(mayForget(plan, NOW + HOUR)).toBe(true);
  expect(mayForget(withCertificate(), NOW + DAY)).toBe(false);
  expect(mayForget(withCertificate(lasting(1)), NOW + 8 * DAY)).toBe(true);
});

type Answer = { ok: true; days: number } | { ok: false; failure: Partial<OrderFailure> };

const anyFailure: fc.Arbitrary<Answer> = fc
  .record({
    kind: fc.constantFrom("unreachable", "limited", "refused", "account", "local", "challenge") as fc.Arbitrary<
      OrderFailure["kind"]
    >,
    retryAfterMs: fc.option(fc.integer({ min: 0, max: 9 * DAY }), { nil: undefined }),
  })
  .map((failure) => ({ ok: false, failure }));
/** Also certificates that have already expired. */
const anySuccess: fc.Arbitrary<Answer> = fc.integer({ min: -5, max: 400 }).map((days) => ({ ok: true, days }));
const anyAnswers = fc.array(fc.oneof(anyFailure, anySuccess), { minLength: 1, maxLength: 40 });

/** Plays the plan for some names against a CA, with its own clock. */
class World {
  budget: OrderBudget = NEW_BUDGET;
  readonly plans: NamePlan[];
  readonly orders: { at: number; name: string }[] = [];
  now = NOW;

  constructor(
    names: number,
    private readonly rules: PlanRules,
    private readonly answer: (world: World) => Answer,
    private readonly random: () => number,
  ) {
    this.plans = Array.from({ length: names }, (_, at) => newPlan(`${at}.example`));
  }

  step(ms: number): void {
    for (const [at, plan] of this.plans.entries()) {
      const step = nextStep(plan, this.budget, this.rules, this.now);
      if (step.do === "wait") continue;
      this.plans[at] = step.do === "askWindow" ? this.askWindow(plan) : this.order(plan, step);
    }
    this.now += ms;
  }

  private askWindow(plan: NamePlan): NamePlan {
    return learnWindow(plan, undefined, undefined, { now: this.now, random: this.random() });
  }

  private order(
    plan: NamePlan,
    { challenges, onStaging }: { challenges: readonly string[]; onStaging: boolean },
  ): NamePlan {
    this.orders.push({ at: this.now, name: plan.name });
    const begun = beginOrder(plan, this.budget, this.now);
    this.budget = begun.budget;
    const answer = this.answer(this);
    if (answer.ok && onStaging) return succeedOnStaging(begun.plan, "http-01");
    if (answer.ok) {
      const issued = lasting(answer.days, this.now - HOUR);
      return succeedOrder(begun.plan, { issued, challenge: "http-01" }, this.now, this.random());
    }
    const failure = { message: "no", challenge: challenges[0], onStaging, ...answer.failure } as OrderFailure;
    const failed = failOrder(begun.plan, begun.budget, failure, this.rules, { now: this.now, random: this.random() });
    this.budget = failed.budget;
    hold(failed.plan.issued === plan.issued, "a failure keeps the certificate");
    return failed.plan;
  }
}

const most = (orders: readonly { at: number }[]) =>
  Math.max(0, ...orders.map(({ at }) => orders.filter((other) => other.at >= at && other.at < at + HOUR).length));

it("never orders more often than it may, whatever the CA responds", () => {
  const anyWorld = fc.record({
    answers: anyAnswers,
    names: fc.constantFrom(1, 3, 70),
    hasStaging: fc.boolean(),
    random: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  fc.assert(
    fc.property(anyWorld, ({ answers, names, hasStaging, random }) => {
      let asked = 0;
      const answer = () => answers[asked++ % answers.length] as Answer;
      const world = new World(names, hasStaging ? WITH_STAGING : RULES, answer, () => random);
      for (let steps = 0; steps < 120; steps++) world.step(steps % 3 === 0 ? 5_000 : 3 * MINUTE);
      hold(most(world.orders) <= MAX_ORDERS_PER_HOUR, "for all names");
      for (const { name } of world.plans.slice(0, 3))
        hold(most(world.orders.filter((each) => each.name === name)) <= MAX_ORDERS_PER_NAME_AND_HOUR, "for a name");
    }),
    { numRuns: 40 },
  );
});

it("never orders more often than it may, even if an operator forces it repeatedly", () => {
  const world = new World(
    1,
    RULES,
    () => ({ ok: true, days: 90 }),
    () => 0,
  );
  for (let steps = 0; steps < 200; steps++) {
    world.plans[0] = forceOrder(world.plans[0] as NamePlan);
    world.step(30_000);
  }
  expect(most(world.orders)).toBe(MAX_ORDERS_PER_NAME_AND_HOUR);
});

it("renews before the certificate expires if the CA works for a day", () => {
  const anyOutage = fc.record({
    days: fc.constantFrom(6, 45, 90),
    /** When the CA works again, as a share of the time from the renewal to a day before the expiry. */
    until: fc.double({ min: 0, max: 1, noNaN: true }),
    answers: fc.array(anyFailure, { minLength: 1, maxLength: 20 }),
    hasStaging: fc.boolean(),
    random: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  fc.assert(
    fc.property(anyOutage, ({ days, until, answers, hasStaging, random }) => {
      let asked = 0;
      let worksFrom = NOW;
      const answer = ({ now }: World): Answer => {
        const failing = answers[asked++ % answers.length] as Answer;
        if (now >= worksFrom) return { ok: true, days };
        // Waiting for as long as a CA says is not our fault.
        const { retryAfterMs: _, ...failure } = failing.ok ? {} : (failing.failure as { retryAfterMs?: number });
        return { ok: false, failure };
      };
      const world = new World(1, hasStaging ? WITH_STAGING : RULES, answer, () => random);
      world.step(MINUTE);
      const first = world.plans[0]?.issued as Validity;
      const renewAt = world.plans[0]?.renewAt as number;
      const lastDay = first.notAfter - DAY;
      worksFrom = renewAt + Math.max(0, lastDay - renewAt) * until;
      world.now = renewAt - HOUR;
      while (world.now < first.notAfter && world.plans[0]?.issued === first) world.step(10 * MINUTE);
      hold(world.plans[0]?.issued !== first, "renewed in time");
    }),
    { numRuns: 100 },
  );
});

it("keeps its limits when the clock jumps", () => {
  const anyJumps = fc.array(fc.integer({ min: -40 * DAY, max: 40 * DAY }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(anyJumps, anyAnswers, (jumps, answers) => {
      let asked = 0;
      const world = new World(
        2,
        RULES,
        () => answers[asked++ % answers.length] as Answer,
        () => 0.5,
      );
      for (const jump of jumps) {
        const before = world.orders.length;
        for (let steps = 0; steps < 25; steps++) world.step(2 * MINUTE);
        hold(world.orders.length - before <= 2 * MAX_ORDERS_PER_NAME_AND_HOUR, "orders between two jumps");
        world.now += jump;
        for (const plan of world.plans) {
          const step = nextStep(plan, world.budget, RULES, world.now);
          const isBounded = step.do !== "wait" || step.until - world.now <= 1.2 * DAY || plan.issued !== null;
          hold(isBounded, "without a certificate no wait is longer than a day");
        }
      }
    }),
    { numRuns: 60 },
  );
});
