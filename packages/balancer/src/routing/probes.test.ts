/** Which requests are probes, and when the fleet is ready. */
import type { SnapshotPool } from "@paceline/wire";
import { describe, expect, it } from "vitest";
import { RequestHead } from "../http1/request-head.js";
import { Probes } from "./probes.js";

const LIMITS = { maxHeadBytes: 4096, maxHeaderFields: 20, maxBodyBytes: 1000 };
const PATHS = { live: "/-/live", ready: "/-/ready" };

/** `+`: has an upstream, `!`: has a drained one, `~`: expects one soon, `-`: neither; `(api)` is internal. */
function pools(text: string): SnapshotPool[] {
  return text.split(" ").map((word) => {
    const name = word.replace(/[^a-z]/g, "");
    return {
      ...{
        name,
        routes: [`/${name}/`],
        upstreams: /[+!]$/.test(word)
          ? [{ id: `${name}.1#1`, name: `${name}.1`, ...(word.endsWith("!") && { outOfTurn: "drained" as const }) }]
          : [],
      },
      ...(word.endsWith("~") && { awaited: true }),
      ...(word.startsWith("(") && { internalRoots: ["/srv"] }),
    };
  });
}

function ask(probes: Probes, target: string, method = "GET"): number {
  const head = new RequestHead(LIMITS);
  const bytes = Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
  expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
  return probes.statusOf(head);
}

describe("a probe", () => {
  const probes = new Probes();
  probes.follow({ probes: PATHS, pools: pools("web+") });

  it.each([
    ["GET", "/-/live", 200],
    ["GET", "/-/ready", 200],
    ["HEAD", "/-/ready", 200],
    ["GET", "/-/ready?from=front", 200],
    ["GET", "http://b/-/ready", 200],
    ["POST", "/-/ready", 0],
    ["GET", "/-/ready/", 0],
    ["GET", "/-/ready2", 0],
    ["GET", "/-/read", 0],
    ["GET", "/-/reads", 0],
    ["GET", "/x/ready", 0],
    ["GET", "/%2d/ready", 0],
    ["GET", "/", 0],
    ["OPTIONS", "*", 0],
  ])("%s %s gets %d", (method, target, status) => {
    expect(ask(probes, target, method)).toBe(status);
  });

  it("uses the paths of the newest snapshot", () => {
    const changing = new Probes();
    expect(changing.areOn).toBe(false);
    changing.follow({ probes: { ready: "/healthz" }, pools: pools("web+") });
    expect(changing.areOn).toBe(true);
    expect([ask(changing, "/healthz"), ask(changing, "/-/live")]).toEqual([200, 0]);
    changing.follow({ pools: pools("web+") });
    expect([changing.areOn, ask(changing, "/healthz")]).toEqual([false, 0]);
  });
});

describe("the fleet is ready", () => {
  it.each<[snapshots: string[], isReady: boolean]>([
    [["web~"], false],
    [["web~", "web+"], true],
    [["web+ api~"], false],
    [["web+ api~", "web+ api+"], true],
    // The pool was given up, or has no instances on purpose.
    [["web+ api-"], true],
    [["web- api-"], false],
    [["web! api-"], false],
    [["web! api+"], true],
    // The pool crashed: the other pools serve, and its requests wait for it.
    [["web+ api+", "web+ api~"], true],
    [["web+ api+", "web~ api~"], false],
    [["web+ api+", "web+", "web+ api~"], false],
    [["(files)+ web-"], false],
    [["(files)~ web+"], true],
  ])("after %j: %s", (snapshots, isReady) => {
    const probes = new Probes();
    for (const text of snapshots) probes.follow({ probes: PATHS, pools: pools(text) });
    expect([ask(probes, "/-/ready"), ask(probes, "/-/live")]).toEqual([isReady ? 200 : 503, 200]);
  });

  it("is not ready during a stop or a drain", () => {
    const probes = new Probes();
    probes.follow({ probes: PATHS, pools: pools("web+"), stopping: true });
    expect([ask(probes, "/-/ready"), ask(probes, "/-/live")]).toEqual([503, 200]);
    // The supervisor was killed before it stopped the fleet, and another supervisor continued.
    probes.follow({ probes: PATHS, pools: pools("web+") });
    expect(ask(probes, "/-/ready")).toBe(200);
    probes.drain();
    probes.follow({ probes: PATHS, pools: pools("web+") });
    expect([ask(probes, "/-/ready"), ask(probes, "/-/live")]).toEqual([503, 200]);
  });
});
