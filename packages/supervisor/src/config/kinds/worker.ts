/** The kind `worker`: a program or a module that gets no requests, such as a queue consumer. */
import { type CronTimes, readCron } from "@paceline/wire/cron";
import { flag, milliseconds, text, textOrWords } from "../fields.js";
import { resolveFile } from "../paths.js";
import { checkSignal, DEFAULT_STOP_SIGNAL, resolveWords, sourceOf } from "./command.js";
import { args, type KindContext, poolKind, readySignal, stopSignal } from "./kind.js";

const READY_AFTER_MS = 1_000;
const RUN_TIMEOUT_MS = 3_600_000;
/** Keys for a process that runs permanently. */
const NOT_WITH_CRON = ["readyAfterMs", "readySignal", "overlap"] as const;
/** Keys for scheduled runs. */
const ONLY_WITH_CRON = ["timezone", "runTimeoutMs"] as const;
/** The placeholders of a command that are not about the address on which it serves. */
const KNOWN = ["name", "bun"];

export const worker = poolKind({
  name: "worker",
  serves: false,
  fields: {
    worker: textOrWords(
      'A process that gets no requests, such as a queue consumer, in place of an app: a JavaScript or TypeScript module, `"./queue.ts"`, or a program and its arguments, `["python3", "consume.py"]`. It has no routes and no socket. In arguments and in the pool\'s `env`, `{name}` stands for the instance\'s name, `{bun}` for the Bun that comes with Paceline. See [workers.md](workers.md).',
    ),
    args,
    readyAfterMs: milliseconds(
      READY_AFTER_MS,
      "A worker is ready when it has run for this long. If it exits sooner, its start has failed.",
    ),
    readySignal,
    stopSignal,
    cron: text(
      'When a worker runs, as a cron pattern: `"*/5 * * * *"`, six fields with seconds in front, or `"@daily"`. The worker then starts only at these times, in one instance, and ends by itself. A time is skipped if the last run has not ended. See [workers.md](workers.md#schedules).',
    ),
    timezone: text(
      'The time zone of `cron`, such as `"Europe/Berlin"`. Default: that of the supervisor (TZ, or the machine\'s).',
    ),
    runTimeoutMs: milliseconds(
      RUN_TIMEOUT_MS,
      "The longest run of a worker with `cron`. A longer run gets `stopSignal`, and after `termTimeoutMs` SIGKILL, and counts as failed. `0`: no limit.",
      { min: 0 },
    ),
    overlap: flag(
      false,
      "In a reload or restart of a worker, start the replacement before the outgoing process ends. By default the outgoing process ends first, so that a slot never runs two processes.",
    ),
  },
  defaultInstances: 1,
  resolve(keys, context) {
    const { worker: given = "", args: more } = keys;
    const { report } = context;
    checkSignal(keys.stopSignal, context);
    if (more !== undefined && typeof given !== "string")
      report(["args"], "is only valid with a module: add the arguments to `worker`");
    const { cron, timezone, runTimeoutMs = RUN_TIMEOUT_MS } = keys;
    const refused = cron === undefined ? ONLY_WITH_CRON : NOT_WITH_CRON;
    const rule = cron === undefined ? "is only valid with `cron`" : "cannot be combined with `cron`";
    for (const key of refused) if (keys[key] !== undefined) report([key], rule);
    if (cron !== undefined) checkCron(cron, timezone, context);
    if (cron === undefined && keys.readyAfterMs !== undefined && keys.readySignal === true)
      report(["readyAfterMs"], "cannot be combined with `readySignal`");
    const run = typeof given === "string" ? resolveModule(given, more ?? [], context) : resolveProgram(given, context);
    return {
      source: run.source,
      workload: {
        command: {
          ...run.workload,
          env: context.env,
          stopSignal: keys.stopSignal ?? DEFAULT_STOP_SIGNAL,
          isOnSocket: false,
          hasPort: false,
          worker: {
            readyAfterMs: keys.readyAfterMs ?? READY_AFTER_MS,
            readySignal: keys.readySignal ?? false,
            ...(cron !== undefined && { schedule: { cron, ...(timezone && { timezone }), runTimeoutMs } }),
          },
        },
      },
      launch: { entry: "shim" },
      overlap: keys.overlap ?? false,
      ...(cron !== undefined && { cron, maxInstances: 1 }),
    };
  },
});

function checkCron(cron: string, timezone: string | undefined, { report }: KindContext): void {
  const times: CronTimes | { key: string; problem: string } = readCron(cron, timezone);
  if ("problem" in times) report([times.key], times.problem);
  else if (times.next(Date.now()) === null) report(["cron"], `never comes: ${JSON.stringify(cron)}`);
}

interface Run {
  source: string;
  /** `module` is run by the pool's runtime with `args`. Without it, `args` begins with the program. */
  workload: { module?: string; args: string[] };
}

function resolveProgram(words: readonly string[], context: KindContext): Run {
  return { source: sourceOf(words), workload: { args: resolveWords("worker", words, KNOWN, context) } };
}

function resolveModule(given: string, args: string[], { baseDir, report }: KindContext): Run {
  const module = resolveFile(given, baseDir);
  const words = given.trim().split(/\s+/);
  if (module === undefined)
    report(
      ["worker"],
      words.length > 1
        ? `must be a module, or a list of texts, the program and each of its arguments: ${JSON.stringify(words)}`
        : `there is no such file: ${given}`,
    );
  else if (!/\.[cm]?[jt]sx?$/.test(module))
    report(
      ["worker"],
      `is not JavaScript or TypeScript; write a list with its program, such as ["python3", "${given}"]`,
    );
  return { source: module ?? given, workload: { module: module ?? given, args } };
}
