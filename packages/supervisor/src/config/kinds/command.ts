/** The kind `command`: any program that serves HTTP on a given unix socket or port. */
import { constants } from "node:os";
import { basename } from "node:path";
import { PROXY_VERSIONS } from "@paceline/wire";
import { PLACEHOLDERS, placeholdersIn } from "../../core/placeholders.js";
import { commandWords, suggest, word } from "../fields.js";
import { findProgram } from "../paths.js";
import {
  hedge,
  type KindContext,
  maxInFlight,
  poolKind,
  REQUEST_TIMEOUT_MS,
  requestTimeoutMs,
  sticky,
  stopSignal,
} from "./kind.js";

export const DEFAULT_STOP_SIGNAL = "SIGTERM";

export const command = poolKind({
  name: "command",
  fields: {
    command: commandWords(
      'A program that serves HTTP (or, with `mode: "tcp"`, any protocol), and its arguments, in place of an app: `["gunicorn", "--bind", "unix:{socket}", "api:app"]`. In arguments and in the pool\'s `env`, `{socket}` stands for the path of its unix socket, `{host}` and `{port}` for its TCP address, `{name}` for the instance\'s name, `{bun}` for the Bun that comes with Paceline. Without `{socket}` it serves on the port, which is also in PORT and HOST. See [commands.md](commands.md).',
    ),
    stopSignal,
    maxInFlight,
    requestTimeoutMs,
    hedge,
    sticky,
    sendProxyProtocol: word(
      PROXY_VERSIONS,
      "Begin each connection to the program with a PROXY header of this version (as `send-proxy` of HAProxy and `proxy_protocol` of nginx), which has the client's address and port. The program must expect the header, also on the connections of checks. See [modes.md](modes.md#proxy-protocol-to-programs). Default: no header.",
    ),
  },
  defaultInstances: 1,
  resolve(keys, context) {
    const words = keys.command ?? [];
    const { report, env } = context;
    const args = resolveWords("command", words, PLACEHOLDERS, context);
    if (keys.requestTimeoutMs !== undefined && keys.maxInFlight === undefined)
      report(
        ["requestTimeoutMs"],
        "is only valid with `maxInFlight`: without it Paceline does not know which requests are running",
      );
    checkSignal(keys.stopSignal, context);
    const used = new Set([...words, ...Object.values(env)].flatMap(placeholdersIn));
    return {
      source: sourceOf(words),
      workload: {
        command: {
          args,
          env,
          stopSignal: keys.stopSignal ?? DEFAULT_STOP_SIGNAL,
          ...(keys.sendProxyProtocol !== undefined && { sendProxy: keys.sendProxyProtocol }),
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

/** Returns a command line for display, without the program's folder. */
export function sourceOf([name = "", ...rest]: readonly string[]): string {
  return [basename(name), ...rest].join(" ");
}

/** Returns the words with the program's absolute path. Reports problems with them, and with the pool's own variables. */
export function resolveWords(
  key: string,
  words: readonly string[],
  known: readonly string[],
  { report, env, cwd, runtimes: { bun }, searchPath }: KindContext,
): string[] {
  words.forEach((word, at) => {
    for (const problem of wrongPlaceholders(word, known)) report([key, at], problem);
  });
  for (const [name, value] of Object.entries(env)) {
    for (const problem of wrongPlaceholders(value, known)) report(["env", name], problem);
  }
  if (bun === undefined && words.some((word) => placeholdersIn(word).includes("bun")))
    report([key], "{bun} is not available: bun is not installed here");
  const [name = "", ...rest] = words;
  const program = name === "{bun}" && bun !== undefined ? bun : findProgram(name, cwd, searchPath);
  if (typeof program === "string") return [program, ...rest];
  report([key, 0], program.problem);
  return [...words];
}

function wrongPlaceholders(word: string, all: readonly string[]): string[] {
  return placeholdersIn(word)
    .filter((each) => !all.includes(each))
    .map((each) => {
      const near = suggest(each, all);
      const known = `(known: ${all.map((p) => `{${p}}`).join(", ")})`;
      const meant = near === undefined ? ` ${known}` : `; did you mean {${near}}?`;
      return `unknown placeholder {${each}}${meant} (write {{${each}}} for the text {${each}})`;
    });
}

export function checkSignal(signal: string | undefined, { report }: KindContext): void {
  if (signal === undefined || Object.hasOwn(constants.signals, signal)) return;
  const near = suggest(`SIG${signal.replace(/^SIG/i, "")}`, Object.keys(constants.signals));
  report(
    ["stopSignal"],
    `there is no signal ${JSON.stringify(signal)}${near === undefined ? "" : `; did you mean "${near}"?`}`,
  );
}
