/** The kind `command`: any program that serves HTTP on a given unix socket or port. */
import { constants } from "node:os";
import { basename } from "node:path";
import { PLACEHOLDERS, placeholdersIn } from "../../core/placeholders.js";
import { commandWords, suggest, text } from "../fields.js";
import { findProgram } from "../paths.js";
import { type KindContext, maxInFlight, poolKind, REQUEST_TIMEOUT_MS, requestTimeoutMs } from "./kind.js";

const DEFAULT_STOP_SIGNAL = "SIGTERM";

export const command = poolKind({
  name: "command",
  fields: {
    command: commandWords(
      'A program that serves HTTP, and its arguments, in place of an app: `["gunicorn", "--bind", "unix:{socket}", "api:app"]`. In arguments and in the pool\'s `env`, `{socket}` stands for the path of its unix socket, `{host}` and `{port}` for its TCP address, `{name}` for the instance\'s name, `{bun}` for the Bun that comes with Paceline. Without `{socket}` it serves on the port, also set in PORT and HOST. See [commands.md](commands.md).',
    ),
    stopSignal: text('The signal that asks a command to exit. Default: `"SIGTERM"`.'),
    maxInFlight,
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
      report(["command"], "{bun} is not available: bun is not installed here");
    const program = name === "{bun}" && bun !== undefined ? bun : findProgram(name, cwd, context.searchPath);
    if (typeof program !== "string") report(["command", 0], program.problem);
    if (keys.requestTimeoutMs !== undefined && keys.maxInFlight === undefined)
      report(
        ["requestTimeoutMs"],
        "is only valid with `maxInFlight`: without it Paceline does not know which requests are running",
      );
    checkSignal(keys.stopSignal, context);
    const used = new Set([...words, ...Object.values(env)].flatMap(placeholdersIn));
    return {
      source: [basename(name), ...rest].join(" "),
      workload: {
        command: {
          args: [typeof program === "string" ? program : name, ...rest],
          env,
          stopSignal: keys.stopSignal ?? DEFAULT_STOP_SIGNAL,
          isOnSocket: used.has("socket"),
          hasPort: used.has("port") || !used.has("socket"),
        },
      },
      relayed: { sendsFiles: true },
      launch: { entry: "shim" },
      ...(keys.maxInFlight !== undefined && {
        maxInFlight: keys.maxInFlight,
        requestTimeoutMs: REQUEST_TIMEOUT_MS,
      }),
    };
  },
});

function wrongPlaceholders(word: string): string[] {
  return placeholdersIn(word)
    .filter((each) => !PLACEHOLDERS.some((known) => known === each))
    .map((each) => {
      const near = suggest(each, PLACEHOLDERS);
      const known = `(known: ${PLACEHOLDERS.map((p) => `{${p}}`).join(", ")})`;
      const meant = near === undefined ? ` ${known}` : `; did you mean {${near}}?`;
      return `unknown placeholder {${each}}${meant} (write {{${each}}} for the text {${each}})`;
    });
}

function checkSignal(signal: string | undefined, { report }: KindContext): void {
  if (signal === undefined || Object.hasOwn(constants.signals, signal)) return;
  const near = suggest(`SIG${signal.replace(/^SIG/i, "")}`, Object.keys(constants.signals));
  report(
    ["stopSignal"],
    `there is no signal ${JSON.stringify(signal)}${near === undefined ? "" : `; did you mean "${near}"?`}`,
  );
}
