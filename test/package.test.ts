/** The package to publish: its content, and that it runs where a user installs it. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { publint } from "publint";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findRuntimes } from "../packages/supervisor/dist/runtime/runtimes.js";
import { Project, ROOT, RUNTIMES } from "./support/fleet.js";
import { brokenLinks } from "./support/links.js";
import { certificates, type Finished, run } from "./support/processes.js";
import { differentBodies, get } from "./support/raw-http.js";

const outside = mkdtempSync(join(tmpdir(), "pl-package-"));
const folder = join(outside, "node_modules/paceline");
let tarball: string;

beforeAll(async () => {
  const packed = await run(process.execPath, ["scripts/pack.mjs", folder], { cwd: ROOT });
  expect(packed, packed.output).toMatchObject({ code: 0 });
  linkDependencies();
  tarball = join(outside, "node_modules", readdirSync(join(outside, "node_modules")).find(isTarball) ?? "");
});
afterAll(() => rmSync(outside, { recursive: true, force: true }));

const isTarball = (name: string) => name.endsWith(".tgz");
const manifest = () => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

/** Links the dependencies, as an installer would do without optional ones. */
function linkDependencies(): void {
  for (const name of Object.keys(manifest().dependencies)) {
    const link = join(outside, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(ROOT, "packages/supervisor/node_modules", name), link);
  }
}

describe("the package", () => {
  test("has only what runs, declarations, Python files, and texts", () => {
    const files = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1));
    const expected =
      /^(bin\/paceline|package\.json|README\.md|LICENSE|THIRD-PARTY-LICENSES\.txt|docs\/[\w-]+\.(md|svg)|dist\/(api|programs\/[a-z-]+)\/[\w.-]+\.js|dist\/programs\/config\/compiled\.js\.jsc|dist\/types\/.+\.d\.ts|dist\/schema\.json|dist\/page\.html|dist\/man\/paceline\.1|dist\/python\/.+\.py)$/;
    expect(files.filter((file) => !expected.test(file) || /\.test\.|fixture/.test(file))).toEqual([]);
    expect(files.length).toBeGreaterThan(100);
    const pages = readdirSync(join(ROOT, "docs"));
    expect(files.filter((file) => file.startsWith("docs/")).sort()).toEqual(pages.map((page) => `docs/${page}`).sort());
    // Nobody owns these names on the registry: code that imports them would run the code of whoever registers them.
    const programs = files.filter((file) => !file.startsWith("docs/"));
    const naming = programs.filter((file) => readFileSync(join(folder, file), "utf8").includes("@paceline/"));
    expect(naming).toEqual([]);
  });

  test("has pages whose links lead to files of the package, or to the repository", () => {
    const pages = readdirSync(join(folder, "docs")).filter((page) => page.endsWith(".md"));
    expect(brokenLinks(folder, ["README.md", ...pages.map((page) => `docs/${page}`)])).toEqual([]);
    expect(readFileSync(join(folder, "README.md"), "utf8")).not.toContain("](examples/");
  });

  test("has a manifest without ranges, and passes publint", async () => {
    const { dependencies, optionalDependencies, devDependencies } = manifest();
    const versions = Object.values({ ...dependencies, ...optionalDependencies });
    expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(String(version)))).toEqual([]);
    expect(devDependencies).toBeUndefined();
    expect((await publint({ pkgDir: folder, strict: true, pack: false })).messages).toEqual([]);
  });

  test("has types for what it exports, and runs on Node if Bun is not installed, which it says", async () => {
    writeFileSync(join(outside, "package.json"), '{ "type": "module" }\n');
    writeFileSync(join(outside, "paceline.config.ts"), CONFIG);
    writeFileSync(join(outside, "app.ts"), APP);
    writeFileSync(join(outside, "wrong.ts"), CONFIG.replace("instances: 2 });", "instnaces: 2 });"));
    const types = [join(ROOT, "node_modules/@types"), join(ROOT, "node_modules/.pnpm/node_modules/@types")];
    const options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2023", "--skipLibCheck", "false"];
    const tsc = [...options, "--types", "node", "--typeRoots", types.join(",")];
    const compiler = join(ROOT, "node_modules/.bin/tsc");
    const sources = ["paceline.config.ts", "app.ts", "wrong.ts"];
    const { output } = await run(compiler, [...tsc, ...sources], { cwd: outside });
    expect(output.match(/^\S+\.ts\(/gm), output).toEqual(["wrong.ts("]);
    expect(output).toContain("'instnaces' does not exist");

    const project = await Project.make({ runtime: "node", app: "" });
    const env = { ...project.startEnvironment(), PACELINE_RUNTIME: undefined, PACELINE_BUN: undefined };
    const paceline = (...args: string[]) => run(join(folder, "bin/paceline"), args, { cwd: outside, env });
    const started = await paceline("start", "--detach", "-p", String(project.port));
    expect(started.output).toMatch(/^paceline: Bun is not installed .*running on Node.*\npaceline: .*2 instances of/);
    expect(await project.status()).toMatchObject({ runtime: expect.stringContaining("node"), pools: [{ ready: 2 }] });
    expect((await get(project.port)).body).toBe("typed");
    expect(await paceline("stop")).toMatchObject({ code: 0, output: "stopped\n" });
    await project.nothingLeft();
  });

  test.each(RUNTIMES)(
    "a config elsewhere may import paceline, as with a global installation, on %s",
    async (runtime) => {
      const project = await Project.make({ runtime, app: "export default { fetch: () => new Response() };\n" });
      rmSync(join(project.folder, "paceline.config.json"));
      project.write("paceline.config.ts", CONFIG.replace("./app.ts", "./app.js"));
      const env = { ...process.env, PACELINE_RUNTIME: runtime, PACELINE_BUN: findRuntimes().bun };
      const checked = await run(join(folder, "bin/paceline"), ["check"], { cwd: project.folder, env });
      expect(checked.output).toMatch(/^OK: .*2 instances of app.js/);
    },
  );
});

describe("the executable", () => {
  test("without node and node_modules: apps, files, commands and workers, as npm's package runs them", async () => {
    const executable = join(outside, "paceline");
    const built = await run(process.execPath, ["scripts/executable.mjs", folder, executable], { cwd: ROOT });
    expect(built, built.output).toMatchObject({ code: 0 });
    // A command may itself be an executable that contains Bun, so it gets no BUN_BE_BUN.
    const command = `[ -z "$BUN_BE_BUN" ] && BUN_BE_BUN=1 exec "${executable}" serve.js`;
    const pools = {
      web: { app: "./own.ts", instances: 2 },
      node: { app: "./listens.cjs", instances: 1, routes: ["/node"] },
      files: { static: "./files", instances: 1, routes: ["/files/"] },
      command: { command: ["/bin/sh", "-c", command], instances: 1, routes: ["/command"] },
      bun: { command: ["{bun}", "serve.js"], instances: 1, routes: ["/bun"] },
      jobs: { worker: "./work.ts", instances: 1 },
    };
    const config = { listen: "PORT", minReadyMs: 50, pools };
    const project = await Project.make({ runtime: "bun", app: "", files: APPS_OF_EXECUTABLE });
    rmSync(join(project.folder, "paceline.config.json"));
    const text = JSON.stringify(config).replace("PORT", `127.0.0.1:${project.port}`);
    project.write(
      "paceline.config.ts",
      `import { defineConfig } from "paceline";\nexport default defineConfig(${text});\n`,
    );
    const { PATH: _, PACELINE_RUNTIME: __, ...environment } = project.startEnvironment();
    const env = { ...environment, PATH: project.folder, PACELINE_PROGRAMS_DIR: join(outside, "programs") };
    const paceline = (...args: string[]) => run(executable, args, { cwd: project.folder, env });

    const started = await paceline("start", "--detach");
    expect(started, started.output).toMatchObject({ code: 0 });
    const bodies = ["/", "/node", "/files/a.txt", "/command", "/bun"].map((path) => get(project.port, path));
    expect((await Promise.all(bodies)).map(({ body }) => body)).toEqual(["own 2", "listens 2", "file", "bun", "bun"]);
    await expect.poll(() => project.logs("jobs")).toContain("works 1");
    const reloaded = await paceline("reload");
    expect(reloaded, reloaded.output).toMatchObject({ code: 0 });
    expect(await paceline("stop")).toMatchObject({ code: 0, output: "stopped\n" });
    await project.nothingLeft();
  });
});

const APPS_OF_EXECUTABLE = {
  "own.ts": `import { every } from "paceline/server";
const timer: unknown = every(1000, () => {});
export default { fetch: () => new Response(timer ? "own 2" : "") };
`,
  // It starts its own runtime, as libraries with workers do.
  "listens.cjs": `const { execFileSync } = require("node:child_process");
const two = execFileSync(process.execPath, ["-e", "console.log(1 + 1)"]).toString().trim();
require("node:http").createServer((request, response) => response.end("listens " + two)).listen(3000);
`,
  "serve.js": `Bun.serve({ hostname: process.env.HOST, port: process.env.PORT, fetch: () => new Response("bun") });\n`,
  "work.ts": `const one: number = 1;\nconsole.log("works", one);\nsetInterval(() => {}, 60_000);\n`,
  "files/a.txt": "file",
};

const CONFIG = `import { defineConfig, type PacelineConfig } from "paceline";
const config: PacelineConfig = { app: "./app.ts", instances: 2 };
export default defineConfig({ ...config, instances: 2 });
`;
const APP = `import { compression } from "paceline/contrib";
import { defer, every, type RequestInfo, serveStatic } from "paceline/server";
import { acceptWebSocket } from "paceline/websocket";
export const used = [compression, defer, every, serveStatic, acceptWebSocket];
export default { fetch: (_request: Request, info: RequestInfo) => new Response(info.requestId ? "typed" : "untyped") };
`;

const PROGRAM = `import { createFleet } from "paceline";
const fleet = await createFleet({ listen: ["127.0.0.1:PORT"] });
console.log((await fleet.status()).pools[0].ready + " ready");
await fleet.stop();
`;

const EXPRESS_APP = `app.get("/", (request, response) => response.send(process.env.PACELINE_INSTANCE));
app.listen(3000);
`;

/** An installer may have to download 50 MB. */
const INSTALL_MS = 400_000;
const OFFLINE_IF_POSSIBLE = ["--no-audit", "--no-fund", "--prefer-offline"];

/** An empty folder with an empty HOME, as an installer finds it. */
async function emptyFolder(app: string, type: "commonjs" | "module") {
  const project = await Project.make({ runtime: "bun", app });
  const { folder: home } = project;
  mkdirSync(join(home, "home"));
  rmSync(join(home, "paceline.config.json"));
  project.write("package.json", JSON.stringify({ private: true, type }));
  // npm sets this variable for its scripts. To ask npm takes half a second of CPU time.
  const cache = process.env.npm_config_cache ?? (await run("npm", ["config", "get", "cache"])).stdout.trim();
  const env = {
    ...project.startEnvironment(),
    ...certificates(),
    HOME: join(home, "home"),
    npm_config_cache: cache,
    PACELINE_RUNTIME: undefined,
  };
  const exec = async (program: string, ...args: string[]): Promise<Finished> => {
    const done = await run(program, args, { cwd: home, env, deadlineMs: INSTALL_MS });
    expect(done, done.output).toMatchObject({ code: 0 });
    return done;
  };
  return { project, exec, start: ["start", "app.js", "-i", "4", "--detach", "-p", String(project.port)] };
}

const FOUR = ["web.1", "web.2", "web.3", "web.4"];

describe("installed into an empty folder with an empty HOME", { timeout: INSTALL_MS }, () => {
  test("by npm: start, ls, scale, reload and stop an Express app, and a program with a fleet", async (context) => {
    if (process.env.CI !== "true") context.skip("it installs from the npm registry: run with CI=true");
    const { project, exec, start } = await emptyFolder(`const app = require("express")();\n${EXPRESS_APP}`, "commonjs");
    await exec("npm", "install", ...OFFLINE_IF_POSSIBLE, tarball, "express@5.3.0");
    // Each npx takes half a second: it starts the fleet, and the other commands are run directly.
    await exec("npx", "--no-install", "paceline", ...start);
    const paceline = (...args: string[]) => exec(join(project.folder, "node_modules/.bin/paceline"), ...args);
    expect((await paceline("ls")).stdout).toMatch(/running .* 4\/4 /);
    expect(await differentBodies(project.port, 4)).toEqual(FOUR);
    await paceline("scale", "web", "5");
    await paceline("reload");
    const pools = [{ ready: 5, generation: 2 }];
    expect(await project.status()).toMatchObject({ runtime: expect.stringContaining("bun"), pools });
    expect(await differentBodies(project.port, 5)).toEqual([...FOUR, "web.5"]);
    await paceline("stop");
    await project.nothingLeft();
    project.write("paceline.config.ts", CONFIG.replace("./app.ts", "./app.js"));
    project.write("program.mjs", PROGRAM.replace("PORT", String(project.port)));
    expect((await exec(process.execPath, "program.mjs")).output).toBe("2 ready\n");
    await project.nothingLeft();
  });

  // The common parts are tested with npm; pnpm has other links, another wrapper script and a strict node_modules.
  test("by pnpm: start and reload an Express app, with a config that imports paceline", async (context) => {
    if (process.env.CI !== "true") context.skip("it installs from the npm registry: run with CI=true");
    const { project, exec, start } = await emptyFolder(
      `import express from "express";\nconst app = express();\n${EXPRESS_APP}`,
      "module",
    );
    // The store belongs to the machine: it only contains what the registry has, and everything else is as in an empty home directory.
    const found = await run("npx", ["--yes", "-p", "pnpm@10.34.9", "-c", "command -v pnpm; pnpm store path"], {
      cwd: ROOT,
      env: { ...process.env, ...certificates() },
    });
    const [pnpm = "", store = ""] = found.stdout.trim().split("\n");
    await exec(pnpm, "add", "--prefer-offline", "--store-dir", store, tarball, "express@5.3.0");
    await exec(pnpm, "exec", "paceline", ...start);
    expect(await differentBodies(project.port, 4)).toEqual(FOUR);
    expect(await project.status()).toMatchObject({ runtime: expect.stringContaining("bun") });
    expect(await project.reload()).toMatchObject({ code: 0 });
    expect(await differentBodies(project.port, 4)).toEqual(FOUR);
    expect(await project.stop()).toMatchObject({ code: 0 });
    project.write("paceline.config.ts", CONFIG.replace("./app.ts", "./app.js"));
    const checked = await exec(join(project.folder, "node_modules/.bin/paceline"), "check");
    expect(checked.output).toMatch(/^OK: .*2 instances of app.js/);
    await project.nothingLeft();
  });
});
