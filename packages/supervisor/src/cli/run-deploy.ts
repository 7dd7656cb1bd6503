/** Runs a deploy and prints its steps: in a terminal with the current verdict, or as lines of JSON. */
import { resolve } from "node:path";
import { entryKindOf } from "../config/find.js";
import type { DeployRequest, DeployStatus, NamedRelease } from "../control/api.js";
import { FIRST_STEP } from "../core/deploy.js";
import { PacelineError } from "../errors.js";
import type { OperationDone } from "../fleet/api.js";
import { connectFleet, type FleetClient } from "../fleet/fleet.js";
import { formatDeploy } from "./format-deploy.js";
import { type DeployOptions, milliseconds } from "./options.js";
import { EXIT, type ExitStatus, print, printError, printStyled, wantsColour } from "./output.js";

/** How often the verdict is read, in milliseconds. */
const POLL_MS = 1000;

export async function runDeploy(release: string | undefined, options: DeployOptions): Promise<ExitStatus> {
  const { json = false, wait, timeout, config, runDir } = options;
  const fleet = await connectFleet({
    ...(config !== undefined && { config }),
    ...(runDir !== undefined && { runDir }),
  });
  const request = requestOf(release, options);
  const output = json ? new JsonSteps() : process.stdout.isTTY ? new LiveSteps() : new PlainSteps();
  let hasBegun = () => {};
  const begun = new Promise<undefined>((done) => {
    hasBegun = () => done(undefined);
  });
  const interrupt = () => {
    output.end();
    printError(
      "interrupted; the deploy continues in the supervisor: paceline status shows it, paceline rollback cancels it",
    );
    process.exit(EXIT.interrupted);
  };
  process.once("SIGINT", interrupt);
  const following = output.wantsVerdict ? follow(fleet, output) : () => {};
  try {
    const running = fleet.deploy(request, {
      timeoutMs: milliseconds(timeout),
      onProgress: (text) => {
        output.step(text);
        if (text.startsWith(FIRST_STEP)) hasBegun();
      },
    });
    if (wait) return output.done(await running);
    const done = await Promise.race([running, begun]);
    if (done !== undefined) return output.done(done);
    output.done({ ok: true, message: "the deploy continues: paceline status shows it" });
    process.exit(EXIT.done);
  } finally {
    following();
    output.end();
    process.off("SIGINT", interrupt);
  }
}

function requestOf(release: string | undefined, options: DeployOptions): DeployRequest {
  const { envFile, canary, judge, onNoTraffic, keepWarm } = options;
  const settings = { canaryPercent: canary, judgeMs: judge, onNoTraffic, keepWarmMs: keepWarm };
  return { ...namedRelease(release, envFile), ...settings };
}

/**
 * Relative paths start from this process's folder.
 * @throws PacelineError `usage` if there is no such file
 */
export function namedRelease(release: string | undefined, envFile: string | undefined): NamedRelease {
  const path = release === undefined ? undefined : resolve(release);
  const found = path === undefined ? undefined : lookAt(path);
  if (path !== undefined && found === "nothing") throw new PacelineError("usage", `${path}: there is no such release`);
  const env = envFile === undefined ? undefined : resolve(envFile);
  if (env !== undefined && lookAt(env) === "nothing") throw new PacelineError("usage", `${env}: there is no such file`);
  return { ...(found === "folder" ? { dir: path } : { config: path }), envFile: env };
}

/** @throws PacelineError `usage` if the type of the file cannot be determined */
function lookAt(path: string): ReturnType<typeof entryKindOf> {
  try {
    return entryKindOf(path);
  } catch (error) {
    throw new PacelineError("usage", (error as Error).message, { cause: error });
  }
}

/** Reads the verdict while the deploy runs. Returns a function that stops it. */
function follow(fleet: FleetClient, output: Steps): () => void {
  const ended = new AbortController();
  const look = async () => {
    // If the status cannot be read, it is not shown. The operation itself reports what is wrong.
    const status = await fleet.status({ timeoutMs: 5 * POLL_MS }).catch(() => undefined);
    if (ended.signal.aborted) return;
    const pools = status?.pools.flatMap(({ name, deploy }) => (deploy == null ? [] : [{ name, deploy }])) ?? [];
    if (pools.length > 0) output.verdict(pools);
    timer = setTimeout(look, POLL_MS);
  };
  let timer = setTimeout(look, POLL_MS / 4);
  return () => {
    ended.abort();
    clearTimeout(timer);
  };
}

type DeployedPool = { name: string; deploy: DeployStatus };

interface Steps {
  readonly wantsVerdict: boolean;
  step(text: string): void;
  verdict(pools: readonly DeployedPool[]): void;
  done(result: OperationDone): ExitStatus;
  end(): void;
}

class PlainSteps implements Steps {
  readonly wantsVerdict = false;

  step(text: string): void {
    print(text);
  }

  verdict(): void {}

  done({ message }: OperationDone): ExitStatus {
    print(message);
    return EXIT.done;
  }

  end(): void {}
}

class JsonSteps implements Steps {
  readonly wantsVerdict = true;
  private last = "";

  step(text: string): void {
    this.print({ step: text });
  }

  verdict(pools: readonly DeployedPool[]): void {
    const text = JSON.stringify(pools.map(({ deploy: { leftMs: _, ...deploy } }) => deploy));
    if (text !== this.last) this.print({ pools: pools.map(({ name, deploy }) => ({ name, ...deploy })) });
    this.last = text;
  }

  done(result: OperationDone): ExitStatus {
    this.print({ result });
    return EXIT.done;
  }

  end(): void {}

  private print(line: object): void {
    print(JSON.stringify({ at: Date.now(), ...line }));
  }
}

/** Prints the steps, and below them the verdict, which is redrawn in place. */
class LiveSteps implements Steps {
  readonly wantsVerdict = true;
  private lines: string[] = [];
  private drawn = 0;

  step(text: string): void {
    this.clear();
    print(text);
    this.draw();
  }

  verdict(pools: readonly DeployedPool[]): void {
    // Some terminals do not know their size and report 0.
    const columns = process.stdout.columns || 80;
    this.lines = pools.flatMap(({ name, deploy }) =>
      formatDeploy(name, deploy, { colour: wantsColour(), width: columns }),
    );
    this.clear();
    this.draw();
  }

  done({ message }: OperationDone): ExitStatus {
    this.end();
    print(message);
    return EXIT.done;
  }

  end(): void {
    this.clear();
    this.lines = [];
  }

  private clear(): void {
    if (this.drawn > 0) process.stdout.write(`\x1b[${this.drawn}A\x1b[J`);
    this.drawn = 0;
  }

  private draw(): void {
    // If there are more lines than the terminal has, they cannot be redrawn.
    const most = Math.max(0, (process.stdout.rows || 24) - 2);
    for (const line of this.lines.slice(0, most)) printStyled(line);
    this.drawn = Math.min(most, this.lines.length);
  }
}
