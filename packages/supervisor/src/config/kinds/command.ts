/** The kind `command`: any program that serves HTTP on a unix socket or a port that it is given. */
import { constants } from "node:os";
import { basename } from "node:path";
import { PLACEHOLDERS, placeholdersIn } from "../../core/placeholders.js";
import { commandWords, count, milliseconds, text } from "../fields.js";
import { findProgram } from "../programs.js";
import { suggest } from "../suggest.js";
import { type KindContext, poolKind } from "./kind.js";
import { requestTimeoutMs, requestTimeoutOf } from "./request-timeout.js";

const DEFAULTS = { intervalMs: 10_000, timeoutMs: 5_000, failures: 3, stopSignal: "SIGTERM", host: "localhost" };

export const command = poolKind({
  name: "command",
  fields: {
    command: commandWords(
      'A program that serves HTTP, and its arguments, in the place of an app: `["gunicorn", "--bind", "unix:{socket}", "api:app"]`. In arguments and in the pool\'s `env`, `{socket}` stands for the path of the unix socket to serve on, `{host}` and `{port}` for the TCP address, `{name}` for the instance\'s name, `{bun}` for the Bun that comes with Paceline; without `{socket}` it serves on the port, which PORT and HOST tell too. See [commands.md](commands.md).',
    ),
    readyPath: text(
      "A path that is asked for, with GET, until the answer's status is 2xx or 3xx; only then is an instance of a command ready. Default: it is ready when it accepts connections.",
    ),
    healthPath: text(
      "A path that an instance of a command is asked for, with GET, for as long as it serves; without good answers it is ended and started again. Default: nothing is asked.",
    ),
    healthIntervalMs: milliseconds(DEFAULTS.intervalMs, "From one answer on `healthPath` to the next question."),
    healthTimeoutMs: milliseconds(DEFAULTS.timeoutMs, "How long an answer on `healthPath` may take."),
    healthFailures: count(DEFAULTS.failures, "With so many failures on `healthPath` in a row an instance is ended.", {
      max: 1000,
    }),
    checkHost: text('The Host field of what is asked for on `readyPath` and `healthPath`. Default: `"localhost"`.'),
    stopSignal: text('The signal with which a command is asked to end. Default: `"SIGTERM"`.'),
    maxInFlight: count(
      1024,
      "How many requests each balancer sends to one instance of a command at once; others wait in the queue. Let it be what the program has of processes and threads, when they are few.",
      { max: 100_000 },
    ),
    requestTimeoutMs,
  },
  defaultInstances: 1,
  resolve(keys, context) {
    const words = keys.command ?? [];
    const { report, env, cwd } = context;
    words.forEach((word, at) => {
      for (const problem of wrongPlaceholders(word)) report(["command", at], problem);
    });
    for (const [name, value] of Object.entries(env)) {
      for (const problem of wrongPlaceholders(value)) report(["env", name], problem);
    }
    const [name = "", ...rest] = words;
    const { bun } = context.runtimes;
    if (bun === undefined && words.some((word) => placeholdersIn(word).includes("bun")))
      report(["command"], "{bun} stands for nothing: bun is not found here");
    const program = name === "{bun}" && bun !== undefined ? bun : findProgram(name, cwd, context.searchPath);
    if (typeof program !== "string") report(["command", 0], program.problem);
    for (const key of ["readyPath", "healthPath"] as const) checkPath(key, keys[key], context);
    for (const key of ["healthIntervalMs", "healthTimeoutMs", "healthFailures"] as const) {
      if (keys[key] !== undefined && keys.healthPath === undefined) report([key], "means nothing without `healthPath`");
    }
    if (keys.checkHost !== undefined && !/^[\w.:[\]-]+$/.test(keys.checkHost))
      report(["checkHost"], "must be a host, with a port or without one");
    if (keys.requestTimeoutMs !== undefined && keys.maxInFlight === undefined)
      report(["requestTimeoutMs"], "is only valid with `maxInFlight`: without it nobody knows which requests go on");
    checkSignal(keys.stopSignal, context);
    const used = new Set([...words, ...Object.values(env)].flatMap(placeholdersIn));
    return {
      source: [basename(name), ...rest].join(" "),
      runs: {
        command: {
          args: [typeof program === "string" ? program : name, ...rest],
          env,
          readyPath: keys.readyPath,
          healthPath: keys.healthPath,
          healthIntervalMs: keys.healthIntervalMs ?? DEFAULTS.intervalMs,
          healthTimeoutMs: keys.healthTimeoutMs ?? DEFAULTS.timeoutMs,
          healthFailures: keys.healthFailures ?? DEFAULTS.failures,
          checkHost: keys.checkHost ?? DEFAULTS.host,
          stopSignal: keys.stopSignal ?? DEFAULTS.stopSignal,
          isOnSocket: used.has("socket"),
          hasPort: used.has("port") || !used.has("socket"),
        },
      },
      launch: { entry: "shim" },
      ...(keys.maxInFlight !== undefined && {
        maxInFlight: keys.maxInFlight,
        requestTimeoutMs: requestTimeoutOf(keys.requestTimeoutMs),
      }),
    };
  },
});

function wrongPlaceholders(word: string): string[] {
  return placeholdersIn(word)
    .filter((each) => !PLACEHOLDERS.some((known) => known === each))
    .map((each) => {
      const near = suggest(each, PLACEHOLDERS);
      const meant =
        near === undefined ? `there are ${PLACEHOLDERS.map((p) => `{${p}}`).join(", ")}` : `did you mean {${near}}?`;
      return `{${each}} stands for nothing: ${meant} (write {{${each}}} for the text {${each}})`;
    });
}

function checkPath(key: "readyPath" | "healthPath", path: string | undefined, { report }: KindContext): void {
  if (path === undefined) return;
  if (!/^\/[!-~]*$/.test(path))
    report([key], `must be a path that begins with /, without blanks, not ${JSON.stringify(path)}`);
}

function checkSignal(signal: string | undefined, { report }: KindContext): void {
  if (signal === undefined || Object.hasOwn(constants.signals, signal)) return;
  const near = suggest(`SIG${signal.replace(/^SIG/i, "")}`, Object.keys(constants.signals));
  report(
    ["stopSignal"],
    `there is no signal ${JSON.stringify(signal)}${near === undefined ? "" : `; did you mean "${near}"?`}`,
  );
}
