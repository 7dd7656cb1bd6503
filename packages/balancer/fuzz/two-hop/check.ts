/** Sends streams to a real balancer, and compares what its instances saw with our parser's model. */
import { createHash } from "node:crypto";
import { METHODS } from "node:http";
import { normalizePath } from "../../src/http1/normal-path.js";
import type { Check } from "../checks/check.js";
import { type RequestCase, requestCase } from "../generate/requests.js";
import { cut, type SeenMessage, valuesOf } from "../message.js";
import { readOurRequests } from "../read/our-requests.js";
import type { Bench } from "./bench.js";
import { type Answers, exchangeStream } from "./client.js";
import type { Seen } from "./instance.js";

/** Valid requests that may still be refused by the router or an instance, with a status or by closing. */
const MAY_BE_REFUSED: readonly { why: string; holds(message: SeenMessage): boolean }[] = [
  { why: "TRACE shows a script what it must not see: 501", holds: ({ method }) => method === "TRACE" },
  { why: "a method that the runtime does not know", holds: ({ method }) => !METHODS.includes(method) },
  { why: "a path that has no normal form", holds: ({ target }) => asRelayed(target) === undefined },
  { why: "an escaped slash that may be read as one", holds: ({ target }) => /^[^?]*%(2f|5c)/i.test(target) },
  { why: "Bun takes no asterisk", holds: ({ target }) => target === "*" },
];

/** Bun hides the body of a GET or HEAD from the handler and does not wait for it, but reads it. */
function hidesBody(seen: Seen): boolean {
  return seen.instance === "bun" && mayHideBody(seen.method);
}

function mayHideBody(method: string | null): boolean {
  return method === "GET" || method === "HEAD";
}

export function twoHop(name: string, bench: Bench): Check<RequestCase> {
  return {
    name,
    cases: requestCase,
    async problem({ stream, cuts }) {
      const model = readOurRequests(cut(stream, []));
      const whole = model.messages.filter(({ isComplete }) => isComplete);
      const begun = model.messages.find(({ isComplete }) => !isComplete);
      const toHead = whole.map(({ method }) => method === "HEAD");
      // A refused request also gets a response; within a body it is that request's response.
      if (model.end === "refused") toHead.push(begun?.method === "HEAD");
      const responses = await exchangeStream(bench.port, cut(stream, cuts), {
        toHead,
        awaited: whole.length,
        mustEnd: model.end === "closed",
      });
      const logs = await bench.takeLogs();
      if (typeof logs === "string") return logs;
      if (responses.isStuck) return "the answers did not come, or the connection did not end";
      // A client that sends after a request with close may lose the response to a reset.
      const mayBeReset = model.end === "closed" && model.used < stream.length;
      return (
        wrongResponse(responses, whole, mayBeReset) ?? wrongLog([...logs.values()].flat(), whole, begun, responses)
      );
    },
  };
}

/** Each response names its request. */
function wrongResponse(
  { reading }: Answers,
  expected: readonly SeenMessage[],
  mayBeReset: boolean,
): string | undefined {
  const { messages } = reading;
  for (const [i, message] of expected.entries()) {
    const response = messages[i];
    if (response === undefined) {
      const before = expected.slice(0, i);
      const isExplained =
        mayBeReset || mayBeRefused(message) || before.some(mayBeRefused) || isAnsweredEarly(messages, before);
      return isExplained ? undefined : `no answer to request ${i}`;
    }
    if (!response.isComplete && mayBeReset) return undefined;
    if (response.status !== 200) {
      if (mayBeRefused(message)) continue;
      return `request ${i} was answered with ${response.status}`;
    }
    if (message.method === "HEAD") continue;
    const wrong = differs(JSON.parse(response.body) as Seen, message);
    if (wrong !== undefined) return `request ${i} was answered as another: ${wrong}`;
  }
  return messages.length > expected.length + 1 ? "more answers than requests" : undefined;
}

/** The instances saw only the forwarded requests. */
function wrongLog(
  log: readonly Seen[],
  expected: readonly SeenMessage[],
  begun: SeenMessage | undefined,
  { reading }: Answers,
): string | undefined {
  const rest = [...log];
  for (const [i, message] of expected.entries()) {
    const isIt = (seen: Seen) => seen.isWhole && differs(seen, message) === undefined;
    // A request with a hidden body matches many others, so it is used last.
    const exact = rest.findIndex((seen) => !hidesBody(seen) && isIt(seen));
    const index = exact >= 0 ? exact : rest.findIndex(isIt);
    if (index >= 0) rest.splice(index, 1);
    else if (reading.messages[i]?.status === 200) return `no instance saw request ${i}`;
  }
  for (const seen of rest) {
    // A request with an incomplete body may have reached an instance, and must not look complete there.
    if (begun !== undefined && (!seen.isWhole || hidesBody(seen)) && seen.method === begun.method) continue;
    return `an instance saw a request that nobody sent: ${JSON.stringify(seen)}`;
  }
  return undefined;
}

/** An instance that responds before the body is complete closes the connection: later bytes are not read. */
function isAnsweredEarly(responses: readonly SeenMessage[], requests: readonly SeenMessage[]): boolean {
  const last = requests.at(-1);
  const isLast = responses.length === requests.length && responses.at(-1)?.keepAlive === false;
  return (
    isLast &&
    last !== undefined &&
    mayHideBody(last.method) &&
    valuesOf(last, "transfer-encoding").length + last.body.length > 0
  );
}

function mayBeRefused(message: SeenMessage): boolean {
  return MAY_BE_REFUSED.some(({ holds }) => holds(message));
}

/** Returns the difference between a seen and an expected request. */
function differs(seen: Seen, message: SeenMessage): string | undefined {
  const body = Buffer.from(message.body, "latin1");
  const isMethod = seen.method === message.method || (seen.method === null && message.method === "QUERY");
  if (!isMethod) return `method ${seen.method}`;
  const target = asRelayed(message.target) ?? message.target;
  // Node shows the received bytes; Bun a parsed URL.
  const isIt = seen.url === target || (seen.instance === "bun" && normal(seen.url) === normal(target));
  if (!isIt) return `target ${seen.url}`;
  if (hidesBody(seen)) return undefined;
  if (seen.length !== body.length) return `a body of ${seen.length} bytes`;
  return seen.hash === createHash("sha1").update(body).digest("hex") ? undefined : "another body";
}

/** Returns the forwarded target: unchanged except for dot segments; undefined if it is refused. */
function asRelayed(target: string): string | undefined {
  if (target === "*") return target;
  const [path = "", ...query] = target.split("?");
  const normalPath = normalizePath(path || "/");
  if (normalPath === undefined) return undefined;
  const segments = path.split("/").map((segment) => segment.replace(/%2e/gi, "."));
  const hasDots = segments.some((segment) => segment === "." || segment === "..");
  return [hasDots ? undotted(path) : path || "/", ...query].join("?");
}

/** RFC 3986 §5.2.4 on bytes that are otherwise unchanged; leading slashes become one. */
function undotted(path: string): string {
  const kept: string[] = [];
  let isDots = false;
  for (const segment of path.replace(/^\/+/, "").split("/")) {
    const name = segment.replace(/%2e/gi, ".");
    isDots = name === "." || name === "..";
    if (name === "..") kept.pop();
    else if (name !== "." && (name !== "" || kept.length > 0)) kept.push(segment);
  }
  // Dot segments at the end name a folder.
  if (isDots) kept.push("");
  return `/${kept.join("/")}`;
}

/** Returns a target as a Request shows it on Bun. */
function normal(target: string): string {
  const { pathname, search } = new URL(`http://host${target}`);
  // Runtimes differ in the bytes they escape. Node's URL keeps a final dot segment if another segment begins with a dot.
  return (pathname.replace(/\/\.$/, "/") + search).replace(/%[0-9a-f]{2}/gi, (escaped) =>
    String.fromCharCode(Number.parseInt(escaped.slice(1), 16)),
  );
}
