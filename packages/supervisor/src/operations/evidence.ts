/** Gathers what a deploy's canaries and the version in service have done since the trial began, and judges it. */
import type { Judgement, TestResult, Verdict } from "../core/deploy.js";
import type { Children } from "../processes/children.js";
import type { Arms, PoolJudge } from "./deploys.js";

interface Counts {
  requests: number;
  errors: number;
}

/** The least requests of each arm, and by how much the share of 5xx may grow. */
const LEAST_REQUESTS = 200;
const MOST_ERRORS = 0.02;

export function openJudge(_pool: string, { children }: { children: Pick<Children, "get"> }): PoolJudge {
  const first = new Map<string, Counts>();
  const last = new Map<string, Counts>();
  const sum = (ids: readonly string[]): Counts => {
    const all = { requests: 0, errors: 0 };
    for (const id of ids) {
      const { requestsTotal = 0, errorsTotal = 0 } = children.get(id)?.stats.last ?? {};
      const now = { requests: requestsTotal, errors: errorsTotal };
      if (!first.has(id)) first.set(id, now);
      last.set(id, now);
      all.requests += now.requests - (first.get(id)?.requests ?? 0);
      all.errors += now.errors - (first.get(id)?.errors ?? 0);
    }
    return all;
  };
  const look = ({ canary, old }: Arms): ReturnType<PoolJudge["look"]> => {
    const [tried, known] = [sum(canary), sum(old)];
    const difference = share(tried) - share(known);
    const isKnown = tried.requests >= LEAST_REQUESTS && known.requests >= LEAST_REQUESTS;
    const verdict: Verdict = !isKnown ? "wait" : difference > MOST_ERRORS ? "fail" : "pass";
    const test: TestResult = {
      name: "5xx",
      verdict,
      difference: isKnown ? points(difference) : "",
      limit: `≤ ${points(MOST_ERRORS)}`,
    };
    const judgement: Judgement = { verdict, tests: [test] };
    return { judgement, canaryRequests: tried.requests };
  };
  return { look, close: () => {} };
}

function share({ requests, errors }: Counts): number {
  return requests === 0 ? 0 : errors / requests;
}

function points(share: number): string {
  return `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(2)} pp`;
}
