/** The records of the data path's chaos test: each request's outcome, once, and the rule that explains each error. */
import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { ROOT } from "../../support/programs.mjs";
import { inLetters } from "./clients.mjs";

/** The page whose table "Why a request fails" names the rules. */
const PAGE = `${ROOT}/docs/operations.md`;
/** A cause may show before its mark was made, and for this long after its end. In milliseconds. */
const SLACK_MS = 1000;
/** How long a killed instance may be missing at most, in milliseconds. */
const RESTART_MS = 15_000;
/** How long a balancer may keep lines of the access log: 100 ms, plus the time during which it is stopped. */
const UNWRITTEN_MS = 5000;
/** The number of requests of a run that are remembered as lost. */
const MAX_LOST = 100_000;

const isEnd = (outcome) => outcome === "lost" || outcome === "cut";
const kill = (role, pool) => (mark) => mark.what === "kill" && mark.role === role && mark.pool === pool;

/** Whether each rule of the page explains a failure, from what happened during the request (`during`) and before it. */
const RULES = {
  "balancer-lost": ({ outcome }, { onConnection }) => isEnd(outcome) && onConnection.some(kill("balancer", "balancer")),
  "kept-connection-closed": ({ outcome, isReused }, { onConnection }) =>
    outcome === "lost" &&
    isReused &&
    onConnection.some(({ what }) => what === "drain balancer" || what === "drain all"),
  "started-post": ({ outcome, method, pool }, { during }) =>
    outcome === "502" && method === "POST" && during.some(kill("instance", pool)),
  "body-not-kept": ({ outcome, uploadBytes = 0, pool }, { during }) =>
    ["502", "503", "lost"].includes(outcome) && uploadBytes > 0 && during.some(kill("instance", pool)),
  "second-loss": ({ outcome, pool }, { during }) =>
    outcome === "502" && during.filter(kill("instance", pool)).length > 1,
  "response-cut": ({ outcome, what, pool }, { during }) =>
    outcome === "cut" && what !== "socket" && during.some(kill("instance", pool)),
  "no-instance": ({ outcome, pool, endedAt }, { marks, sizeOf }) => {
    if (outcome !== "503") return false;
    const down = marks.filter(
      (mark) =>
        mark.pool === pool &&
        mark.slot !== undefined &&
        mark.at < endedAt &&
        (mark.until ?? mark.at) + RESTART_MS > endedAt,
    );
    return new Set(down.map(({ slot }) => slot)).size >= sizeOf(pool);
  },
  "websocket-restart": ({ outcome, what, pool }, { during }) =>
    what === "socket" &&
    (outcome === "closed 1012" || outcome === "cut") &&
    during.some((mark) => ["drain all", "drain balancer", `drain ${pool}`].includes(mark.what)),
  "websocket-lost": ({ outcome, what, pool }, { during }) =>
    what === "socket" && outcome === "cut" && during.some(kill("instance", pool)),
};

/** Returns the rules that the page does not contain. */
export function rulesWithoutDocs() {
  const page = readFileSync(PAGE, "utf8");
  return Object.keys(RULES).filter((rule) => !page.includes(`| \`${rule}\` |`));
}

export class Books {
  /** By outcome. */
  counts = new Map();
  lost = [];
  /** Requests that were begun and have not ended. */
  open = new Map();
  /** The outcome of each request by its number, as an index of `outcomes`. */
  outcomeOf = [];
  outcomes = [];
  startedAt = [];
  endedAt = [];
  /** POST requests that got a 200. */
  posts = new Set();

  begin(plan) {
    const number = this.outcomeOf.length;
    const request = { ...plan, number, id: `r-${number}`, name: inLetters(number), startedAt: Date.now() };
    request.connectedAt = request.startedAt;
    this.outcomeOf.push(-1);
    this.startedAt.push(request.startedAt);
    this.endedAt.push(0);
    this.open.set(number, request);
    return request;
  }

  end(request, outcome) {
    const { number, what, id } = request;
    if (!this.open.delete(number)) throw new Error(`${id} has ended twice`);
    request.outcome = outcome;
    request.endedAt = Date.now();
    this.counts.set(outcome, (this.counts.get(outcome) ?? 0) + 1);
    let at = this.outcomes.indexOf(outcome);
    if (at < 0) at = this.outcomes.push(outcome) - 1;
    this.outcomeOf[number] = at;
    this.endedAt[number] = request.endedAt;
    if (outcome === "ok" && what === "post") this.posts.add(id);
    if (outcome !== "ok" && outcome !== "aborted" && this.lost.length < MAX_LOST) this.lost.push(request);
  }

  get requests() {
    return this.outcomeOf.length;
  }

  /**
   * Assigns to each lost request its rule. Returns the requests without a rule.
   * @param context the marks, and the sizes of pools
   */
  explain({ marks, sizeOf }) {
    const overlaps = (from, to) => (mark) => mark.at - SLACK_MS <= to && (mark.until ?? mark.at) + SLACK_MS >= from;
    for (const request of this.lost) {
      const { connectedAt, startedAt, endedAt } = request;
      const context = {
        ...{ marks, sizeOf },
        during: marks.filter(overlaps(startedAt, endedAt)),
        onConnection: marks.filter(overlaps(connectedAt, endedAt)),
      };
      request.rule = Object.keys(RULES).find((rule) => RULES[rule](request, context));
    }
    return this.lost.filter(({ rule }) => rule === undefined);
  }

  /** Compares the ledgers of the instances: no POST runs twice, and each with a response has run. Returns the problems. */
  checkLedgers(enteredFile, doneFile) {
    const problems = [];
    const read = (file) =>
      readFileSync(file, "latin1")
        .split("\n")
        .filter((id) => id !== "");
    const [entered, done] = [enteredFile, doneFile].map(read);
    for (const [name, ids] of Object.entries({ called: entered, done })) {
      const twice = ids.length - new Set(ids).size;
      if (twice > 0) problems.push(`${twice} POSTs were ${name} twice`);
    }
    const ran = new Set(done);
    const missing = [...this.posts].filter((id) => !ran.has(id));
    if (missing.length > 0)
      problems.push(`${missing.length} POSTs have a response and were not run, such as ${missing[0]}`);
    return problems;
  }

  /** Compares the access log: each request has one line, with the outcome that its client saw. Returns the problems. */
  async checkAccessLog(file, marks) {
    const problems = [];
    const seen = new Uint8Array(this.requests);
    const counted = { lines: 0, missing: 0 };
    const lostBy = new Map(this.lost.map((request) => [request.number, request]));
    const kills = marks.filter(kill("balancer", "balancer")).map(({ at }) => at);
    // A slow reader may detect long afterwards that its balancer was killed.
    const mayBeMissing = (number) =>
      kills.some((at) => at >= this.startedAt[number] - SLACK_MS && at <= this.endedAt[number] + UNWRITTEN_MS);
    const note = (text) => problems.length < 10 && problems.push(text);
    for await (const line of createInterface({ input: createReadStream(file, "latin1") })) {
      const [id, status, whose] = line.split(" ");
      const number = /^r-\d+$/.test(id) ? Number(id.slice(2)) : Number.NaN;
      if (!(number < seen.length)) {
        if (!/^- 4\d\d /.test(line)) note(`a line of no request: ${line}`);
        continue;
      }
      counted.lines++;
      const lost = lostBy.get(number);
      if (lost !== undefined) lost.logged = line;
      if (++seen[number] === 2) note(`${id} is counted twice`);
      const outcome = this.outcomes[this.outcomeOf[number]];
      const fits = outcome === "ok" ? whose === "whole" : !/^\d+$/.test(outcome) || status === outcome;
      if (!fits) note(`${id} was ${outcome} for its client, and ${status} ${whose} in the log`);
    }
    for (let number = 0; number < seen.length; number++) {
      const outcome = this.outcomes[this.outcomeOf[number]];
      const isLogged = outcome === "ok" || outcome === "cut" || /^\d+$/.test(outcome);
      if (seen[number] > 0 || !isLogged) continue;
      counted.missing++;
      if (!mayBeMissing(number)) note(`r-${number} (${outcome}) is not in the log`);
    }
    return { problems, ...counted };
  }
}
