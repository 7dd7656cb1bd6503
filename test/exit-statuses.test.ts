/** Runs every row of the table of exit statuses in docs/cli.md, and checks that failures are reported in JSON, too. */
import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { canBeKept, runKept } from "./support/commands.js";
import { PACELINE, Project, ROOT } from "./support/fleet.js";
import { kill, pause, run } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

const THROWS = "throw new Error('no database');\n";
const HANGS = "await new Promise(() => setInterval(() => {}, 1000));\n";
const LISTENS = "setInterval(() => {}, 1000);\n";
/** Commands that never print JSON. */
const WITHOUT_JSON = /^(serve|top|mcp|export|startup|--version)|^start(?! -d| --runtime)|--once/;

/** These commands would change a kept process, or make it exit. All others have the same status there for a tenth of the CPU time. */
const IN_ITS_OWN_PROCESS = /^(serve|top|mcp|upgrade|rehearse|record|start(?! -d))|--timeout|-f/;

interface Row {
  command: string;
  when: string;
  status: number;
  /** Whether it runs in the kept process. */
  isKept: boolean;
}

function rows(): Row[] {
  const page = readFileSync(join(ROOT, "docs/cli.md"), "utf8");
  const table = page.slice(page.indexOf("| command | when | exit status |")).split("\n\n")[0] ?? "";
  // Each command that succeeds and does more than read, and each status, runs once in a separate process.
  const seen = new Set<string>();
  return table
    .split("\n")
    .slice(2)
    .map((line) => {
      const [, command = "", when = "", status = ""] = /^\| `(.*)` \| (.*) \| (\d+) \|$/.exec(line) ?? [];
      const words = command.split(" ");
      const kind = status !== "0" ? status : canBeKept(words) ? "read" : `${words[0]}`;
      // A timeout would make the others wait.
      const isKept = seen.has(kind) && status !== "4" && !IN_ITS_OWN_PROCESS.test(command);
      if (!isKept) seen.add(kind);
      return { command, when, status: Number(status), isKept };
    });
}

type Situation = (row: Row) => Promise<Project>;

/** A folder for each situation, created on first use; a running fleet is repaired before each row. */
function situations(): Record<string, Situation> {
  const made = new Map<string, Promise<Project>>();
  const once = (name: string, make: () => Promise<Project>) => () => {
    const known = made.get(name) ?? make();
    made.set(name, known);
    return known;
  };
  const project = (app: string, config: Record<string, unknown> = {}) =>
    Project.make({ runtime: "bun", instances: 1, app, config });
  const nothing = once("nothing", async () => {
    const empty = await project(HELLO);
    empty.write("package.txt", "");
    return empty;
  });
  const running = once("running", async () => {
    const fleet = await project(HELLO);
    const { code, output } = await fleet.startDetached();
    expect(code, output).toBe(0);
    return fleet;
  });
  let supervisor: Promise<{ fleet: Project; pid: number }> | undefined;
  const stopped = () => {
    supervisor ??= (async () => {
      const fleet = await project(HELLO);
      await fleet.start();
      const { pid } = await fleet.status();
      await pause(pid);
      return { fleet, pid };
    })();
    return supervisor;
  };
  const throwing = async () => {
    const fleet = await running();
    fleet.write("app.js", THROWS);
    return fleet;
  };
  return {
    always: nothing,
    "nothing runs": async (row) => (row.status === 0 && row.command.startsWith("start") ? project(HELLO) : nothing()),
    "a fleet runs": async () => {
      const fleet = await running();
      fleet.write("app.js", HELLO);
      fleet.writeConfig({});
      return fleet;
    },
    "the new version throws": throwing,
    "the new config is wrong": async () => {
      const fleet = await running();
      fleet.writeConfig({ lisen: 1 });
      return fleet;
    },
    "the fleet has stopped": once("stopped", async () => {
      const fleet = await project(HELLO);
      await fleet.start();
      expect((await fleet.stop()).code).toBe(0);
      return fleet;
    }),
    "the address is taken": once("taken", async () => {
      const fleet = await project(HELLO);
      const holder = createServer().listen(fleet.port, "127.0.0.1");
      onTestFinished(() => void holder.close());
      return fleet;
    }),
    "the app throws": once("throws", () => project(THROWS)),
    "the app hangs": once("hangs", () => project(HANGS)),
    "the config is wrong": once("wrong", () => project(HELLO, { lisen: 1 })),
    "the config hangs": once("config", async () => {
      const fleet = await project(HELLO);
      fleet.write("paceline.config.mjs", HANGS);
      return fleet;
    }),
    "the folder has no config": once("no config", async () => {
      const folder = await project(HELLO);
      rmSync(join(folder.folder, "paceline.config.json"));
      return folder;
    }),
    "an ecosystem file is there": once("ecosystem", async () => {
      const folder = await project(HELLO);
      folder.write("ecosystem.config.cjs", "module.exports = { apps: [{ script: './app.js' }] };\n");
      return folder;
    }),
    "a reload is under way": once("reload", async () => {
      const fleet = await project(HELLO, { readyTimeoutMs: 600_000 });
      await fleet.start();
      fleet.write("app.js", HANGS);
      const reload = spawn(PACELINE, ["reload"], { cwd: fleet.folder, env: fleet.startEnvironment(), stdio: "ignore" });
      onTestFinished(() => void reload.kill());
      await fleet.statusWhere("the reload", ({ pools }) => pools[0]?.rollout !== null);
      return fleet;
    }),
    "a signal has stopped the supervisor": async () => (await stopped()).fleet,
    [KILLED]: once("killed", async () => {
      const { fleet, pid } = await stopped();
      await kill(pid);
      return fleet;
    }),
    "an instance is stalled": once("stalled", async () => {
      const fleet = await project(HELLO, { hangAfterMs: 120_000 });
      fleet.startInForeground();
      const { pools } = await fleet.ready();
      process.kill(pools[0]?.instances[0]?.pid as number, "SIGSTOP");
      await fleet.statusWhere("the stall", ({ pools }) => pools[0]?.instances[0]?.stalledMs !== null);
      return fleet;
    }),
    "an instance is not ready": once("not ready", async () => {
      const pools = {
        web: { app: "./app.js", instances: 1 },
        slow: { command: [process.execPath, "slow.mjs"], routes: ["/slow/"] },
      };
      const fleet = await project(HELLO, { pools, readyTimeoutMs: 600_000 });
      fleet.write("slow.mjs", LISTENS);
      fleet.startInForeground();
      await fleet.statusWhere("the fleet", ({ pools }) => pools[0]?.ready === 1);
      // So that one more instance does not become ready either.
      fleet.write("app.js", HANGS);
      return fleet;
    }),
  };
}

/** Rows in which something happens to the command. */
const EVENTS: Record<string, (project: Project, command: string) => Promise<number | null>> = {
  "it is ended by `paceline stop`": async (project) => {
    project.startInForeground();
    await project.ready();
    expect((await project.cli(["stop"])).code).toBe(0);
    return (await project.exit()).code;
  },
  "it is ended by SIGTERM": (project, command) =>
    ended(project, `${command} --port ${project.port}`, "SIGTERM", /listen|serv/i),
  "its supervisor is killed": async (project, command) => {
    await project.start();
    const { pid } = await project.status();
    project.write("app.js", HANGS);
    const kill = () => void process.kill(pid, "SIGKILL");
    return ended(project, command, kill, /reading the config/, "keep serving: paceline start -d takes them over");
  },
  "it is interrupted (Ctrl-C)": async (project, command) => {
    const isReload = command === "reload";
    if (isReload) await project.start();
    project.write("app.js", HANGS);
    if (!isReload) return ended(project, command, "SIGINT", undefined, "nothing was left running");
    return ended(project, command, "SIGINT", /reading the config/, "the reload continues in the supervisor");
  },
};

async function ended(
  project: Project,
  command: string,
  signal: NodeJS.Signals | (() => void),
  said: RegExp | undefined,
  lastWords = "",
) {
  const child = spawn(PACELINE, command.split(" "), { cwd: project.folder, env: project.startEnvironment() });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (part) => (text += part));
  const code = new Promise<number | null>((resolve) => child.on("close", resolve));
  if (said === undefined) await project.statusWhere("the fleet to start", () => true);
  else await waitFor("the command to serve", () => said.test(text), { details: () => text });
  if (typeof signal === "string") child.kill(signal);
  else signal();
  const status = await code;
  expect(text).toContain(lastWords);
  return status;
}

/** Returns the problem of a row, if any. */
async function problemOf(row: Row, known: Record<string, Situation>): Promise<object | undefined> {
  const { command, when, status, isKept } = row;
  const event = EVENTS[when];
  if (event !== undefined) {
    const code = await event(await Project.make({ runtime: "bun", instances: 1, app: HELLO }), command);
    return code === status ? undefined : { ...row, code };
  }
  const situation = known[when];
  if (situation === undefined) throw new Error(`no such situation: ${when}`);
  const project = await situation(row);
  const withJson = status !== 0 && !WITHOUT_JSON.test(command);
  const [name = "", ...words] = command.split(" ");
  // Words after `--` belong to a program.
  const args = [name, ...(withJson ? ["--json"] : []), ...words];
  const env = project.startEnvironment();
  const { code, output, stdout } = await (isKept
    ? runKept(args, project.folder, env)
    : run(PACELINE, args, { cwd: project.folder, env }));
  if (code !== status) return { ...row, code, output };
  // These commands exit with 1 without a failure.
  const isOfStopped = command === "explain" && when === "the fleet has stopped";
  const isFinding = command === "status --check" || isOfStopped || (command === "diff" && status === 1);
  if (!withJson || isFinding || (command.includes("--timeout 0.5") && command.includes("-f"))) return undefined;
  const said = attempt(() => failureIn(stdout));
  return said?.ok === false && said.message !== "" && said.code !== "internal" ? undefined : { ...row, output };
}

/** Returns the failure that a command prints: its only document, or the `result` in the last line of a deploy. */
function failureIn(text: string): { ok: boolean; code: string; message: string } {
  const last = text.startsWith('{"') ? (text.trim().split("\n").at(-1) ?? "") : text;
  const value = JSON.parse(last);
  return value.result ?? value;
}

const KILLED = "the supervisor was killed";

/** Rows that share a fleet run one after another, those of a killed supervisor last. */
function groupOf({ when }: Row): string {
  if (when === KILLED) return "a signal has stopped the supervisor";
  return when.startsWith("the new") ? "a fleet runs" : when;
}

test("every command exits as docs/cli.md says, and says in JSON what failed", async () => {
  const known = situations();
  const ordered = rows().sort((a, b) => Number(a.when === KILLED) - Number(b.when === KILLED));
  const groups = groupBy(ordered, groupOf);
  expect([...groups.values()].flat().length).toBeGreaterThan(60);
  const problems = await Promise.all(
    [...groups.values()].map(async (group) => {
      const found: object[] = [];
      for (const row of group) found.push(...[await problemOf(row, known)].filter((problem) => problem !== undefined));
      return found;
    }),
  );
  expect(problems.flat()).toEqual([]);
});

test("the table has rows for every command", async () => {
  const { output } = await run(PACELINE, ["--help"]);
  const commands = [...output.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name);
  const named = new Set(rows().map(({ command }) => command.split(" ")[0]));
  expect(commands.length).toBeGreaterThan(10);
  expect(commands.filter((name) => name !== "help" && !named.has(name))).toEqual([]);
});

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined; // Not JSON.
  }
}

/** Node 20 has no Map.groupBy. */
function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
