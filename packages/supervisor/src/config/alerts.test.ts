/** The keys `alerts` and `otlp`: which values are rejected, and what the defaults are. */
import { describe, expect, it } from "vitest";
import { resolveAlerts, resolveOtlp } from "./receivers.js";

function resolving<Given, Result>(
  resolve: (given: Given, context: Parameters<typeof resolveOtlp>[1]) => Result,
  given: Given,
) {
  const problems: string[] = [];
  const report = (path: (string | number)[], message: string) => problems.push(`${path.join(".")}: ${message}`);
  const result = resolve(given, { baseDir: "/srv", credentialsDir: undefined, isOnlyChecked: false, report });
  return { result, problems };
}

const alerts = (...given: NonNullable<Parameters<typeof resolveAlerts>[0]>[number][]) =>
  resolving((all: typeof given, context) => resolveAlerts(all, "/usr/bin:/bin", context), given);
const webhook = "https://hooks.example/T0";

describe("alerts", () => {
  it("have defaults", () => {
    const { result, problems } = alerts(
      { webhook, quiet: { from: "22:30", to: "07:00" } },
      { command: ["sh", "-c", "x"] },
    );
    expect(problems).toEqual([]);
    expect(result).toMatchObject([
      { webhook, headers: {}, repeatAfterMs: 600_000, maxPerHour: 30, retries: 3, timeoutMs: 10_000 },
      { command: [expect.stringMatching(/^\/.*\/sh$/), "-c", "x"], quiet: null },
    ]);
    expect(result[0]?.quiet).toEqual({ from: 1350, to: 420, timezone: null, except: ["pool-down"] });
    expect(result[0]?.on).toContain("death");
  });

  it.each([
    [{}, "0: must have either `webhook` or `command`"],
    [{ webhook, command: ["sh"] }, "0: must have either `webhook` or `command`"],
    [{ webhook: "hooks.example" }, "0.webhook: must be an http or https URL"],
    [{ webhook: "https://me:secret@hooks.example" }, "0.webhook: must not contain a password: use `headers`"],
    [{ webhook: { file: "none" } }, "0.webhook: /srv/none does not exist"],
    [{ webhook, headers: { "X Y": "1" } }, "0.headers.X Y: is not the name of a header field that can be set"],
    [{ webhook, headers: { Host: "1" } }, "0.headers.Host: is not the name of a header field that can be set"],
    [{ command: ["no-such-program"] }, '0.command: there is no program "no-such-program" on PATH (/usr/bin:/bin)'],
    [{ command: ["sh"], headers: {} }, "0.headers: is only valid beside `webhook`"],
    [{ webhook, quiet: { from: "22:00" } }, "0.quiet: must have `from` and `to`"],
    [
      { webhook, quiet: { from: "22:00", to: "07:00", timezone: "Mars" } },
      '0.quiet.timezone: is not a time zone: "Mars"',
    ],
  ])("%j", (given, problem) => {
    expect(alerts(given).problems).toEqual([problem]);
  });
});

describe("otlp", () => {
  const otlp = (given: Parameters<typeof resolveOtlp>[0]) => resolving(resolveOtlp, given);

  it("has defaults", () => {
    expect(otlp({ endpoint: "http://127.0.0.1:4318" })).toEqual({
      problems: [],
      result: {
        endpoint: "http://127.0.0.1:4318",
        headers: {},
        sampleRatio: 0.01,
        metricsEveryMs: 60_000,
        timeoutMs: 10_000,
        attributes: {},
      },
    });
    expect(otlp(undefined).result).toBeUndefined();
  });

  it.each([
    [{}, ": must have `endpoint`"],
    [{ endpoint: "127.0.0.1:4318" }, "endpoint: must be an http or https URL"],
    [{ endpoint: "http://a", metricsEveryMs: 5 }, "metricsEveryMs: must be 0, or at least 1000"],
    [
      { endpoint: "http://a", headers: { Authorization: { credential: "x" } } },
      expect.stringContaining("headers.Authorization: needs $CREDENTIALS_DIRECTORY"),
    ],
  ])("%j", (given, problem) => {
    expect(otlp(given).problems).toEqual([problem]);
  });
});
