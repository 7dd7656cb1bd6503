/** The values that a child reads from its environment, and the ones that stay. */
import { describe, expect, it } from "vitest";
import { BUN_LATE_FTL, BUN_ONE_READER, BUN_PURGE_SOON, takeChildEnvironment } from "./child-environment.js";

const good = {
  PACELINE_CHANNEL: "/run/channel.sock",
  PACELINE_TOKEN: "secret",
  PACELINE_ATTEMPT: "7",
  PACELINE_SPEC: JSON.stringify({ orphanGraceMs: 60_000, drainTimeoutMs: 30_000, app: "/srv/app.ts" }),
  PACELINE_POOL: "web",
  PACELINE_INSTANCE: "web.3",
  PACELINE_INDEX: "3",
  PACELINE_GENERATION: "2",
  PACELINE_SOCKET: "/run/web.3.sock",
  HOME: "/root",
};

describe("takeChildEnvironment", () => {
  it("is undefined without a supervisor", () => {
    const environment = { HOME: "/root", PACELINE_INSTANCE: "web.3" };
    expect(takeChildEnvironment(environment)).toBeUndefined();
    expect(environment).toEqual({ HOME: "/root", PACELINE_INSTANCE: "web.3" });
  });

  it("returns the identity and leaves only what the app may know", () => {
    const environment: NodeJS.ProcessEnv = { ...good };
    expect(takeChildEnvironment(environment)).toEqual({
      channel: "/run/channel.sock",
      token: "secret",
      attempt: 7,
      generation: 2,
      pool: "web",
      name: "web.3",
      index: 3,
      socket: "/run/web.3.sock",
      spec: { orphanGraceMs: 60_000, drainTimeoutMs: 30_000, app: "/srv/app.ts" },
    });
    expect(Object.keys(environment).sort()).toEqual([
      "HOME",
      "PACELINE_GENERATION",
      "PACELINE_INDEX",
      "PACELINE_INSTANCE",
      "PACELINE_POOL",
      "PACELINE_SOCKET",
    ]);
  });

  it("removes runtime settings that were meant only for the child, but keeps the user's own", () => {
    const settings = [BUN_LATE_FTL, BUN_PURGE_SOON];
    const of = (value?: string) => Object.fromEntries(settings.map((each) => [each.name, value ?? each.value]));
    const ours: NodeJS.ProcessEnv = { ...good, [BUN_ONE_READER]: "1", ...of() };
    takeChildEnvironment(ours);
    expect(Object.keys(ours).filter((key) => /^(BUN|MIMALLOC)_/.test(key))).toEqual([]);
    const theirs: NodeJS.ProcessEnv = { ...good, ...of("500") };
    takeChildEnvironment(theirs);
    expect(theirs).toMatchObject(of("500"));
  });

  it("has no socket for a balancer", () => {
    const { PACELINE_SOCKET: _, ...balancer } = good;
    expect(takeChildEnvironment(balancer)).not.toHaveProperty("socket");
  });

  it.each([
    ["PACELINE_TOKEN", undefined, /PACELINE_TOKEN is not set/],
    ["PACELINE_ATTEMPT", "seven", /PACELINE_ATTEMPT is not a whole number: seven/],
    ["PACELINE_GENERATION", "-1", /PACELINE_GENERATION is not a whole number/],
    ["PACELINE_SPEC", "{", /PACELINE_SPEC is not JSON/],
    ["PACELINE_SPEC", '{"drainTimeoutMs":1}', /PACELINE_SPEC has an invalid orphanGraceMs/],
    ["PACELINE_SPEC", '{"drainTimeoutMs":1,"orphanGraceMs":1,"reportEveryMs":"1"}', /has an invalid reportEveryMs/],
    ["PACELINE_SPEC", '{"drainTimeoutMs":1,"orphanGraceMs":1,"app":3}', /PACELINE_SPEC has an app that is not a path/],
    [
      "PACELINE_SPEC",
      '{"drainTimeoutMs":1,"orphanGraceMs":1,"limits":{}}',
      /PACELINE_SPEC has an invalid limits\.maxHead/,
    ],
  ])("names the invalid variable: %s=%s", (name, value, message) => {
    const environment: NodeJS.ProcessEnv = { ...good, [name]: value };
    expect(() => takeChildEnvironment(environment)).toThrow(message);
    expect(() => takeChildEnvironment(environment)).toThrow(expect.objectContaining({ code: "bad-environment" }));
  });
});
