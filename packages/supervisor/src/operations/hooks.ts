/** Runs the hooks of a reload or deploy, each once, and includes their output in its progress. */
import type { OperationErrorCode, OperationResult, ProgressListener } from "../control/api.js";
import type { FleetConfig, HookName } from "../core/model.js";
import { seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import { type HookProcess, KILL_AFTER_MS, runHookProcess } from "../processes/hook-process.js";
import { hookEnvironment } from "../processes/spawn-plan.js";
import { type FormerHook, followHook, removeHook, writeHook } from "../run-dir/former-hook.js";
import { STOPPING } from "./scale-and-restart.js";

export interface HookContext {
  reason: "reload" | "deploy";
  /** The configuration that is put into service. Its first pool determines the hooks' folder and environment. */
  config: FleetConfig;
  /** The caller's environment. */
  environment: Record<string, string>;
  /** The number of the new generation of the first of `pools`. */
  generation: number;
  /** The pools concerned. */
  pools: readonly string[];
  onProgress: ProgressListener;
  /** For `onFailure`: the message of the operation. */
  failure?: string | undefined;
  /** Returns why the operation is being rolled back. From then on, only `onFailure` runs. */
  rolledBack?: () => string | undefined;
}

type HookFailure = OperationResult & { ok: false };

/** How many of the first and of the last lines of a hook's output are passed on. */
const FIRST_LINES = 60;
const LAST_LINES = 20;
const MAX_FAILURE = 2_000;

export class Hooks {
  private readonly running = new Map<HookProcess, HookName>();
  private isEnded = false;
  /** The processes that a hook of a killed supervisor has left running. */
  private former: FormerHook | undefined;

  /** @param runDir for PACELINE_RUN_DIR, so that commands in a hook find the fleet */
  constructor(
    private readonly log: Pick<EventLog, "event">,
    private readonly runDir: string,
  ) {
    this.former = followHook(runDir);
    const left = this.former;
    if (left === undefined) return;
    log.event("warn", "paceline", `the hook ${left.name} of the killed supervisor still runs; ${untilText(left)}`);
    void left.ended.then(() => {
      this.former = undefined;
    });
  }

  /**
   * Runs `before`, then the operation unless `before` failed, and then `after` or `onFailure`, whose failure is only reported.
   * @param refusedAs the code if `before` fails
   */
  async around(
    context: HookContext,
    refusedAs: OperationErrorCode,
    run: () => Promise<OperationResult>,
  ): Promise<OperationResult> {
    if (this.former !== undefined) {
      const { name } = this.former;
      context.onProgress(`waiting for the hook ${name} of the killed supervisor; ${untilText(this.former)}`);
      await this.former.ended;
    }
    const refused = await this.run("before", context);
    if (this.isEnded) return STOPPING;
    const message = `${refused?.message}; nothing was changed`;
    const outcome = refused === undefined ? await run() : { ...refused, code: refusedAs, message };
    if (this.isEnded) return outcome;
    const failure = outcome.ok
      ? await this.run("after", context)
      : await this.run("onFailure", { ...context, failure: outcome.message });
    return failure === undefined ? outcome : { ...outcome, message: `${outcome.message}; ${failure.message}` };
  }

  /** Runs the hook, if it is configured. Returns the reason if it failed. */
  async run(name: HookName, context: HookContext): Promise<HookFailure | undefined> {
    const { config, onProgress } = context;
    const hook = config.hooks?.[name];
    const pool = config.pools[0];
    if (hook === undefined || pool === undefined || this.isEnded) return undefined;
    const rolledBack = name === "onFailure" ? undefined : context.rolledBack?.();
    if (rolledBack !== undefined)
      return { ok: false, code: "failed", message: `the hook ${name} did not run: ${rolledBack}` };
    onProgress(`hook ${name}: ${hook.command.join(" ")}`);
    const startedAt = performance.now();
    const output = new HookOutput((line) => onProgress(`  | ${line}`));
    const child = runHookProcess({
      ...hook,
      cwd: pool.cwd,
      environment: hookEnvironment(pool, context.environment, {
        ...variablesOf(name, pool.release, context),
        PACELINE_RUN_DIR: this.runDir,
      }),
      onLine: (line) => output.take(line),
    });
    this.running.set(child, name);
    try {
      if (child.pid !== undefined) writeHook(this.runDir, name, child.pid, hook.timeoutMs);
    } catch (error) {
      this.log.event(
        "warn",
        "paceline",
        `${(error as Error).message}; if the supervisor is killed now, the hook continues`,
      );
    }
    const problem = await child.ended.finally(() => {
      this.running.delete(child);
      removeHook(this.runDir);
    });
    output.end();
    const took = seconds(performance.now() - startedAt);
    if (problem === undefined) {
      onProgress(`hook ${name}: done after ${took}`);
      return undefined;
    }
    const message = `the hook ${name} failed after ${took}: ${problem}`;
    onProgress(message);
    this.log.event("error", "paceline", message);
    return { ok: false, code: "failed", message, lastLines: output.lastLines };
  }

  /** Stops the running hook, because its operation is being rolled back; `onFailure` continues. Returns what the rollback waits for. */
  rollBack(reason: string): string | undefined {
    const [running] = this.running;
    if (running === undefined && this.former !== undefined && this.former.name !== "onFailure") {
      this.former.kill();
      return `ending the hook ${this.former.name} of the killed supervisor`;
    }
    if (running === undefined) return undefined;
    const [child, name] = running;
    if (name === "onFailure") return "waiting for the hook onFailure";
    child.kill(reason);
    return `ending the hook ${name}: it gets SIGTERM, and SIGKILL after ${seconds(KILL_AFTER_MS)}`;
  }

  /** Stops the running hooks and starts no others, because the fleet stops. */
  async end(): Promise<void> {
    this.isEnded = true;
    const children = [...this.running.keys()];
    for (const child of children) child.kill("the fleet is stopping");
    this.former?.kill();
    await Promise.all([...children.map(({ ended }) => ended), this.former?.ended]);
  }
}

function untilText({ until }: FormerHook): string {
  return `it is ended after ${seconds(Math.max(0, until - Date.now()))}`;
}

function variablesOf(name: HookName, release: string, context: HookContext): Record<string, string> {
  const { reason, generation, pools, failure } = context;
  return {
    PACELINE_HOOK: name,
    PACELINE_REASON: reason,
    PACELINE_RELEASE: release,
    PACELINE_GENERATION: String(generation),
    PACELINE_POOLS: pools.join(" "),
    ...(failure !== undefined && { PACELINE_FAILURE: failure.slice(0, MAX_FAILURE) }),
  };
}

class HookOutput {
  readonly lastLines: string[] = [];
  private count = 0;

  constructor(private readonly pass: (line: string) => void) {}

  take(line: string): void {
    this.count++;
    if (this.count <= FIRST_LINES) this.pass(line);
    this.lastLines.push(line);
    if (this.lastLines.length > LAST_LINES) this.lastLines.shift();
  }

  /** Passes on the last lines, unless that was done before. */
  end(): void {
    const left = Math.min(LAST_LINES, this.count - FIRST_LINES);
    if (left <= 0) return;
    if (this.count > FIRST_LINES + left) this.pass(`[${this.count - FIRST_LINES - left} lines are omitted]`);
    for (const line of this.lastLines.slice(-left)) this.pass(line);
  }
}
