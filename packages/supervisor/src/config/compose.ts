/** Makes a fleet of a configuration: reads it, lays over it what the command line says, checks it and fills in the rest. */
import type { FleetConfig, RuntimeName } from "../core/model.js";
import type { Runtimes } from "../runtime/runtimes.js";
import type { FleetSource } from "./find.js";
import { POOL_KINDS } from "./kinds/index.js";
import { formatListenAddress, parseListenAddress } from "./listen-address.js";
import { ConfigError, type Problem } from "./problems.js";
import { type ConfigDocument, readConfigFile } from "./read-file.js";
import { resolveFleet } from "./resolve.js";
import type { FleetInput } from "./schema.js";
import { type Finding, validate } from "./validate.js";

/** What the command line says; it holds over what the config says. */
export interface Overrides {
  instances?: number | "cpus" | undefined;
  listen?: string[] | undefined;
  /** Of every process, whatever the config says of its pool. */
  runtime?: RuntimeName | undefined;
  /** The interpreter of an app of Python that has no config. */
  python?: string | undefined;
  /** Arguments of a FAPWS script that has no config. */
  args?: string[] | undefined;
}

/** All that a fleet is made from; plain data. */
export interface LoadTask {
  /** Symbolic links are followed in it. */
  source: FleetSource;
  /** As the operator's shell writes it. */
  cwd: string;
  /** The folder that relative paths are taken from. */
  release: string;
  /** The folder that relative unix sockets are taken from: one that a new release does not replace. */
  listenDir: string;
  /** What the fleet is called when it does not say. */
  name: string;
  overrides: Overrides;
  runtimes: Runtimes;
}

/**
 * The fleet that `task` means. A config module runs in this process.
 * @throws ConfigError with every problem there is
 */
export async function composeFleet(task: LoadTask): Promise<FleetConfig> {
  const { source, runtimes } = task;
  const file = source.kind === "config" ? source.file : undefined;
  const document = await readSource(source);
  const { input, findings } = validate(document.value);
  const problems: Problem[] = [];
  const context = {
    // Without a config file all is as if the app had been started by hand, here.
    baseDir: task.release,
    listenDir: task.listenDir,
    defaultName: task.name,
    runtimes,
    findings,
  };
  const config = resolveFleet(applyOverrides(input, task, problems), context);
  problems.push(...findings.map((finding) => locate(finding, file, document)));
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

async function readSource(source: FleetSource): Promise<ConfigDocument> {
  if (source.kind === "app") return { value: { app: source.app }, lineOf: () => undefined };
  if (source.kind === "static") return { value: { static: source.folder }, lineOf: () => undefined };
  if (source.kind === "fapws") return { value: { fapws: source.script }, lineOf: () => undefined };
  if (source.kind !== "config") return { value: { [source.kind]: source.app }, lineOf: () => undefined };
  return readConfigFile(source.file);
}

function applyOverrides(input: FleetInput, { overrides, cwd }: LoadTask, problems: Problem[]): FleetInput {
  const result: FleetInput = { ...input };
  if (overrides.runtime !== undefined) overrideRuntime(result, overrides.runtime);
  if (overrides.listen !== undefined) {
    result.listen = overrides.listen.flatMap((text) => {
      const address = parseListenAddress(text, cwd);
      if (!("problem" in address)) return [formatListenAddress(address).replace(/^http:\/\//, "")];
      problems.push({ path: [], message: `--listen: ${address.problem}` });
      return [];
    });
    // The problem of the empty list is told already.
    if (result.listen.length === 0) delete result.listen;
  }
  if (overrides.python !== undefined) result.python = overrides.python;
  if (overrides.args !== undefined) result.args = overrides.args;
  if (overrides.instances !== undefined) {
    const names = Object.keys(input.pools ?? {});
    const [only] = names;
    if (input.pools === undefined) result.instances = overrides.instances;
    else if (names.length === 1 && only !== undefined) {
      result.pools = { [only]: { ...input.pools[only], instances: overrides.instances } };
    } else problems.push({ path: [], message: `--instances: there are several pools (${names.join(", ")})` });
  }
  return result;
}

function overrideRuntime(input: FleetInput, runtime: RuntimeName): void {
  input.runtime = runtime;
  if (input.balancer !== undefined) input.balancer = { ...input.balancer, runtime };
  if (input.pools === undefined) return;
  const pools = Object.entries(input.pools).map(([name, pool]) => {
    const needsAnother = POOL_KINDS.some((kind) => kind.runtime !== undefined && kind.name in pool);
    return [name, needsAnother ? pool : { ...pool, runtime }] as const;
  });
  input.pools = Object.fromEntries(pools);
}

function locate({ path, message }: Finding, file: string | undefined, document: ConfigDocument): Problem {
  const line = document.lineOf(path);
  return { ...(file === undefined ? {} : { file }), path, ...(line === undefined ? {} : { line }), message };
}
