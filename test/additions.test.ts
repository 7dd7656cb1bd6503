/** An addition is one new file and a line in a registry, as CONTRIBUTING.md says: each addition works in a copy of the build. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { ROOT } from "./support/fleet.js";

/** Copies of the builds of some packages, which import each other; files can be added and changed. The default is the first package. */
class Scratch {
  private readonly folder = mkdtempSync(join(tmpdir(), "pl-additions-"));
  private readonly names: string[];
  /** The added or changed files. */
  readonly touched: string[] = [];

  constructor(...names: [string, ...string[]]) {
    this.names = names;
    onTestFinished(() => rmSync(this.folder, { recursive: true, force: true }));
    for (const name of names) {
      const from = join(ROOT, "packages", name);
      const to = join(this.folder, name);
      const isCode = (path: string) => !/\.d\.ts$|\.map$|[/\\]bundle$/.test(path);
      cpSync(join(from, "dist"), join(to, "dist"), { recursive: true, filter: isCode });
      cpSync(join(from, "package.json"), join(to, "package.json"));
      this.link(join(from, "node_modules"), join(to, "node_modules"));
    }
  }

  /** Makes the dependencies of a package available: dependencies of its own project are copies, if there are copies. */
  private link(from: string, to: string): void {
    mkdirSync(join(to, "@paceline"), { recursive: true });
    for (const name of readdirSync(from)) if (name !== "@paceline") symlinkSync(join(from, name), join(to, name));
    for (const name of ["wire", "server", "balancer"]) {
      const copied = this.names.includes(name) ? join(this.folder, name) : join(ROOT, "packages", name);
      symlinkSync(copied, join(to, "@paceline", name));
    }
  }

  private pathOf(file: string): string {
    const [name, path] = file.includes(":") ? file.split(":") : [this.names[0], file];
    return join(this.folder, name as string, "dist", path as string);
  }

  add(file: string, text: string): void {
    writeFileSync(this.pathOf(file), text);
    this.touched.push(file);
  }

  /**
   * Inserts a line after each given line, which must exist.
   * @param file for example `core/figures.js` or, in another package, `wire:limits.js`
   */
  insert(file: string, lines: Record<string, string>): void {
    let text = readFileSync(this.pathOf(file), "utf8");
    for (const [after, line] of Object.entries(lines)) {
      expect(text).toContain(after);
      text = text.replace(after, `${after}\n${line}`);
    }
    this.add(file, text);
  }

  // biome-ignore lint/suspicious/noExplicitAny: it is another copy of modules whose types are checked elsewhere
  async load(file: string): Promise<any> {
    return import(pathToFileURL(this.pathOf(file)).href);
  }
}

test("a figure of each process: an entry in the list, and how it is measured", async () => {
  const scratch = new Scratch("supervisor");
  const entry = '{ key: "attempts", titles: ["TRIES", "TRIES", "TRY"], unit: "count", none: 0, drop: 13, least: 3 },';
  scratch.insert("core/figures.js", { "export const FIGURES = [": entry });
  scratch.insert("operations/measures.js", { "const MEASURES = {": "attempts: ({ child }) => child?.attempt ?? 0," });
  const { instanceFigures } = await scratch.load("operations/measures.js");
  const nothing = { of: () => undefined, stalledMs: () => null };
  const stats = { last: null, requestsPerSecond: () => 0, recentLatencies: () => [] };
  const figures = instanceFigures({
    child: { id: "web.1#41", pid: 7, attempt: 41, spawnedAt: 0, stats, relayed: new Map() },
    ...{ record: { restarts: 0 }, usage: nothing, liveness: nothing, now: 5 },
    ...{ name: "web.1", series: { errorsPerMinute: () => 0 } },
  });
  expect(figures).toMatchObject({ attempts: 41, rssBytes: null });
  const instance = {
    ...{ name: "web.1", state: "ready", pid: 7, stalledMs: null, other: null, lastExit: null, exposed: [] },
    ...{
      latencyMs: { p50: null, p99: null },
      latencyShape: [],
      linesLost: 0,
      linesTotal: 0,
      release: "/srv",
      recycle: null,
      ...figures,
    },
  };
  const pool = {
    ...{ name: "web", kind: "app", ready: 1, wanted: 1, generation: 1, release: "/srv", routes: ["/"], receiving: 0 },
    ...{
      sending: 0,
      requestsPerSecond: 0,
      rollout: null,
      ...{ deploy: null, scaling: null, cron: null, latencyMs: { p50: null, p99: null }, latencyShape: [] },
      recyclePauseSeconds: null,
      instances: [instance],
      templates: [],
    },
  };
  const status = {
    ...{ name: "shop", state: "running", listen: [], pid: 1, uptimeSeconds: 1, version: "1", runtime: "bun 1" },
    ...{ problem: null, log: null, watch: null, rolledBack: null, rssBytes: 0, pssBytes: null, errorsTotal: 0 },
    ...{ balancers: [], pools: [pool], lock: null, machine: { cpus: 1 }, limits: {} },
    traffic: { latencyMs: { p50: null, p99: null }, requestsPerSecond: 0, errorsPerMinute: 0 },
  };
  const { formatStatus } = await scratch.load("cli/format-status.js");
  expect(formatStatus(status, { colour: false })).toMatch(/TRIES(.*\n)+.*web\.1.* 41 /);
  const { initialModel } = await scratch.load("dashboard/model.js");
  const { view } = await scratch.load("dashboard/view.js");
  const model = { ...initialModel("attached", { width: 200, height: 20 }), status, connection: { state: "up" } };
  const screen = view(model).map((line: { text: string }[]) => line.map(({ text }) => text).join(""));
  expect(screen.join("\n")).toMatch(/TRIES(.*\n)+.*web\.1.* 41 /);
  expect(scratch.touched).toEqual(["core/figures.js", "operations/measures.js"]);
});

test("a command: a file, and a line in the registry", async () => {
  const scratch = new Scratch("supervisor");
  scratch.add(
    "cli/commands/hello.js",
    `import { print } from "../output.js";
    export const hello = (program, action) => {
      program.command("hello").description("say hello").action(action(async () => { print("hello"); return 0; }));
    };`,
  );
  scratch.insert("cli/commands/index.js", {
    'import { top } from "./top.js";': 'import { hello } from "./hello.js";',
    "export const commands = {": "hello,",
  });
  const { run } = await scratch.load("cli/program.js");
  const { exitCode } = process;
  const write = vi.spyOn(process.stdout, "write").mockImplementation(() => true);
  onTestFinished(() => {
    write.mockRestore();
    process.exitCode = exitCode;
  });
  await run(["hello"]);
  expect(write.mock.calls).toEqual([["hello\n"]]);
  expect(scratch.touched.length).toBe(2);
});

test("a kind of pool: a file, and a line in the registry", async () => {
  const scratch = new Scratch("supervisor");
  scratch.add(
    "config/kinds/echo.js",
    `import { text } from "../fields.js";
    import { poolKind } from "./kind.js";
    export const echo = poolKind({
      name: "echo",
      fields: { echo: text("What every request gets back.") },
      defaultInstances: 1,
      resolve: (keys) => ({ source: keys.echo, workload: { echo: keys.echo } }),
    });`,
  );
  scratch.insert("config/kinds/index.js", {
    'import { wsgi } from "./wsgi.js";': 'import { echo } from "./echo.js";',
    "const ALL = [": "echo,",
  });
  const { validate } = await scratch.load("config/validate.js");
  const { resolveFleet } = await scratch.load("config/resolve.js");
  const { input, findings } = validate({ echo: "hi" });
  const runtimes = { bun: "/bun", node: "/node", preferred: "bun" };
  const fleet = resolveFleet(input, { baseDir: "/", listenDir: "/", defaultName: "x", runtimes, findings });
  expect(findings).toEqual([]);
  expect(fleet.pools).toMatchObject([{ kind: "echo", source: "hi", workload: { echo: "hi" }, instances: 1 }]);
  expect(scratch.touched.length).toBe(2);
});

test("a balancing policy: a file, and a line in the registry, beside its name in the wire's list", async () => {
  const scratch = new Scratch("balancer");
  scratch.add(
    "upstreams/first.js",
    "export class First { rebuild(members) { this.members = members; } pick() { return this.members[0]; } }",
  );
  scratch.insert("upstreams/registry.js", {
    'import { RoundRobin } from "./round-robin.js";': 'import { First } from "./first.js";',
    "const POLICIES = {": "first: { make: () => new First() },",
  });
  const { UpstreamRegistry } = await scratch.load("upstreams/registry.js");
  const client = { hasRoom: () => true, pending: 0, countStall: () => 0 };
  const picksOf = (policy: string) => {
    const registry = new UpstreamRegistry({ maxQueue: 1, makeClient: () => client, deadlines: { now: 0 } });
    const upstreams = ["web.1", "web.2"].map((name) => ({ id: `${name}#1`, name }));
    registry.apply({ version: 1, pools: [{ name: "web", routes: ["/"], policy, upstreams }] });
    const [pool] = registry.allPools();
    return [1, 2, 3].map(() => pool.pick(undefined, true).name);
  };
  expect(picksOf("round-robin")).toEqual(["web.1", "web.2", "web.1"]);
  expect(picksOf("first")).toEqual(["web.1", "web.1", "web.1"]);
  expect(scratch.touched.length).toBe(2);
});

test("a format of export: a file, and a line in the registry", async () => {
  const scratch = new Scratch("supervisor");
  scratch.add("export/hosts.js", "export const hosts = ({ boxes }) => boxes.map(({ host }) => host).join();");
  scratch.insert("export/formats.js", {
    "export const FORMATS = {": 'hosts: { load: async () => (await import("./hosts.js")).hosts, isFront: true },',
  });
  const { FORMATS } = await scratch.load("export/formats.js");
  const write = await FORMATS.hosts.load();
  expect(write({ boxes: [{ host: "10.0.0.1" }, { host: "10.0.0.2" }] })).toBe("10.0.0.1,10.0.0.2");
  const { commandLine } = await scratch.load("cli/program.js");
  const command = commandLine(() => async () => {}).commands.find(
    (each: { name(): string }) => each.name() === "export",
  );
  expect(command.registeredArguments[0].argChoices).toContain("hosts");
  expect(scratch.touched.length).toBe(2);
});

test("a limit: its default in the wire's list, and its range and text in the configuration", async () => {
  const scratch = new Scratch("supervisor", "wire");
  scratch.insert("wire:limits.js", { "export const INSTANCE_LIMITS = {": "maxNaps: 3," });
  scratch.insert("config/limit-fields.js", {
    "export const instanceLimitFields = {": 'maxNaps: count(INSTANCE_LIMITS.maxNaps, "How often it may nap."),',
  });
  const { validate } = await scratch.load("config/validate.js");
  const { resolveFleet } = await scratch.load("config/resolve.js");
  const limitsOf = (limits: object) => {
    const { input, findings } = validate({ static: ".", limits });
    const runtimes = { bun: "/bun", node: "/node", preferred: "bun" };
    const fleet = resolveFleet(input, { baseDir: ROOT, listenDir: "/", defaultName: "x", runtimes, findings });
    return { limits: fleet.pools[0].limits, findings };
  };
  expect(limitsOf({ maxNaps: 5 })).toMatchObject({ limits: { maxNaps: 5, maxDeferredJobs: 50_000 }, findings: [] });
  expect(limitsOf({})).toMatchObject({ limits: { maxNaps: 3 }, findings: [] });
  expect(limitsOf({ maxNaps: -1 }).findings).toHaveLength(1);
  expect(scratch.touched.length).toBe(2);
});

test("a forwarding rule: a line in the wire's list", async () => {
  const scratch = new Scratch("balancer", "wire");
  scratch.insert("wire:http/forwarding.js", { "export const CLIENT_FIELDS = {": '"x-mood": "trusted",' });
  const { RequestHead } = await scratch.load("http1/request-head.js");
  const { passes, requestFieldsThatPass } = await scratch.load("http1/forward-policy.js");
  const head = new RequestHead({ maxHeadBytes: 1000, maxHeaderFields: 10, maxBodyBytes: 0 });
  const bytes = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\nX-Mood: good\r\nX-Other: 1\r\n\r\n");
  expect(head.parse(bytes, 0, bytes.length)).toBe(bytes.length);
  const passing = (isTrusted: boolean) =>
    [0, 1, 2].filter((at) => passes(requestFieldsThatPass(head, isTrusted), head.fields.kinds[at]));
  expect([passing(true), passing(false)]).toEqual([[1, 2], [2]]);
  expect(scratch.touched.length).toBe(1);
});
