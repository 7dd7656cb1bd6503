/**
 * The fuzz test of parsing and framing, short and with a fixed seed, and every case it found earlier; `npm run fuzz` searches for new ones.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Check } from "../fuzz/checks/check.js";
import { requestParser, responseParser } from "../fuzz/checks/parsers.js";
import { corpus } from "../fuzz/corpus/index.js";
import { runCheck } from "../fuzz/run-check.js";
import { Bench } from "../fuzz/two-hop/bench.js";
import { twoHop } from "../fuzz/two-hop/check.js";
import { ResponseBench } from "../fuzz/two-hop/response-bench.js";
import { twoHopResponses } from "../fuzz/two-hop/response-check.js";
import { RUNTIMES } from "./support/balancer-process.js";

const SEED = 20;

async function expectNothing(check: Check<never>, cases: number): Promise<void> {
  expect((await runCheck(check, SEED, cases)).find).toBeUndefined();
}

/** Returns the cases found by this check; the runtime on which they were found does not matter. */
function found(check: string) {
  return corpus().filter((entry) => entry.check.startsWith(check));
}

describe("parsers against Node's", () => {
  it.each([requestParser, responseParser] as Check<never>[])("$name", async (check) => {
    await expectNothing(check, 600);
    for (const entry of found(check.name)) expect(check.problem(entry.case as never), entry.found).toBeUndefined();
  });
});

describe.each(RUNTIMES)("over two hops, the balancer on %s", (runtime) => {
  let bench: Bench;
  let responseBench: ResponseBench;

  beforeAll(async () => {
    bench = await Bench.start(runtime);
    responseBench = await ResponseBench.start(runtime);
  });

  afterAll(async () => {
    await bench?.stop();
    await responseBench?.stop();
  });

  it("balancer and instances see the same requests", async () => {
    const check = twoHop("", bench);
    await expectNothing(check as Check<never>, 60);
    for (const entry of found("two hops")) {
      expect(await check.problem(entry.case as never), entry.found).toBeUndefined();
    }
  });

  it("clients see the response of the upstream, or that it is cut off", async () => {
    const check = twoHopResponses("", responseBench);
    await expectNothing(check as Check<never>, 60);
    for (const entry of found("answers")) {
      expect(await check.problem(entry.case as never), entry.found).toBeUndefined();
    }
  });
});

describe("the corpus", () => {
  it("only has cases of known checks", () => {
    const names = ["request parser", "response parser", "two hops", "answers"];
    expect(corpus().filter(({ check }) => !names.some((name) => check.startsWith(name)))).toEqual([]);
    expect(corpus().length).toBeGreaterThan(0);
  });
});
