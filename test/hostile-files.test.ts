/** Files that a runtime reads for a developer's convenience do not affect production, in any process. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { askControl, Project, ROOT, RUNTIMES } from "./support/fleet.js";
import { run } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const ENV_FILES = [".env", ".env.local", ".env.development", ".env.development.local", ".env.production"];
/** One of them is in the config: its variables come only from there, and disappear with the file's entries. */
const LISTED = ".env";

/** Installs a copy of the package in a folder whose tsconfig.json redirects its imports; its dependencies are the real ones. */
function installIn(folder: string, strayTo: string): string {
  const supervisor = join(ROOT, "packages/supervisor");
  const home = join(folder, "node_modules/paceline");
  for (const part of ["bin", "dist", "package.json"])
    cpSync(join(supervisor, part), join(home, part), { recursive: true });
  symlinkSync(join(supervisor, "node_modules"), join(home, "node_modules"));
  const { dependencies } = JSON.parse(readFileSync(join(supervisor, "package.json"), "utf8"));
  const names = Object.keys(dependencies).filter((name) => !name.startsWith("@paceline/"));
  const paths = Object.fromEntries(names.map((name) => [name, [strayTo]]));
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: { paths } }));
  const leftover = Object.fromEntries(names.map((name) => [name, strayTo]));
  const scripts = { [join(home, "dist/programs/cli/main.js")]: `echo script > ${folder}/sprung` };
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({ imports: leftover, browser: leftover, overrides: leftover, scripts }),
  );
  return join(home, "bin/paceline");
}

/** Reports every process that reads it. */
function trap(log: string): string {
  return `import { appendFileSync } from "node:fs";
appendFileSync(${JSON.stringify(log)}, process.argv.join(" ") + "\\n");
export default {};
`;
}

describe.each(RUNTIMES)("beside hostile files on %s", (runtime) => {
  test("no process reads .env files, a bunfig.toml, a stranger's tsconfig.json, variables for Bun, or the registry", async () => {
    const outside = mkdtempSync(join(tmpdir(), "pl-hostile-"));
    onTestFinished(() => rmSync(outside, { recursive: true, force: true }));
    const log = join(outside, "sprung");
    const put = (name: string, text: string) => {
      mkdirSync(dirname(join(outside, name)), { recursive: true });
      writeFileSync(join(outside, name), text);
    };
    put("trap.ts", trap(log));
    const preload = `preload = [${JSON.stringify(join(outside, "trap.ts"))}]\n`;
    const hostile = {
      "bunfig.toml": preload,
      ...Object.fromEntries(
        ENV_FILES.map((name) => [name, `HOSTILE_${name.slice(1).toUpperCase().replaceAll(".", "_")}=1\n`]),
      ),
    };
    put("home/.bunfig.toml", preload);
    const paceline = installIn(outside, join(outside, "trap.ts"));

    const seeing = "({ env: process.env, argv: process.argv.slice(1), installed: await found, word })";
    const app = `import { word } from "@lib/word";
const found = import("is-odd").then(() => "installed", (error) => error.message);
export default { fetch: async () => Response.json(${seeing}) };\n`;
    const program = `const { createServer } = require("node:http");
createServer((_, response) => response.end(JSON.stringify({ env: process.env }))).listen(process.argv[2]);\n`;
    const project = await Project.make({
      runtime,
      app: "",
      files: {
        ...hostile,
        "app.ts": app,
        "lib/word.ts": 'export const word: string = "of an alias";\n',
        [LISTED]: "LISTED=1\nKEPT=1\n",
        "program.cjs": program,
        "public/index.html": "a file",
        "config.ts": "const listen: string = process.env.LISTEN ?? ''; export { listen };\n",
        "paceline.config.ts": `import { listen } from "@conf";
const bun = Object.keys(process.env).filter((name) => name.startsWith("HOSTILE_"));
export default { listen, name: "seen:" + bun.join(), envFiles: ["${LISTED}"], pools: {
  web: { app: "./app.ts", instances: 1, args: ["--flag", "two words"] },
  files: { static: "./public", routes: ["/files/"] },
  any: { command: [${JSON.stringify(process.execPath)}, "program.cjs", "{socket}"], routes: ["/any/"] },
} };\n`,
        "tsconfig.json": '{ "compilerOptions": { "paths": { "@conf": ["./config.ts"], "@lib/*": ["./lib/*"] } } }\n',
      },
      env: {
        HOME: join(outside, "home"),
        BUN_OPTIONS: `--preload ${join(outside, "trap.ts")}`,
        BUN_INSPECT_PRELOAD: join(outside, "trap.ts"),
        NODE_PATH: `${outside}/node_modules/.pnpm/node_modules:/kept`,
      },
    });
    rmSync(join(project.folder, "paceline.config.json"));
    const env = { ...project.startEnvironment(), LISTEN: `127.0.0.1:${project.port}` };
    const cli = (...args: string[]) => run(paceline, args, { cwd: project.folder, env });
    // The working directory of balancers and shims.
    mkdirSync(project.runDir, { mode: 0o700 });
    for (const [name, text] of Object.entries(hostile)) writeFileSync(join(project.runDir, name), text);

    const started = await cli("start", "--detach", "--json");
    expect(started, started.stderr).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(started.stdout)).toMatchObject({ ok: true });
    expect(JSON.parse((await cli("status", "--json")).stdout).name).toBe("seen:");
    const see = async (path: string) => JSON.parse((await get(project.port, path)).body);
    const web = await see("/");
    expect(web.argv).toEqual([join(project.folder, "app.ts"), "--flag", "two words"]);
    expect(web.word).toBe("of an alias");
    expect(web.installed).toMatch(/is-odd/);
    expect((await get(project.port, "/files/")).body).toBe("a file");
    for (const { env: seen } of [web, await see("/any/")]) {
      const known = { ...env, LISTED: 1, KEPT: 1 };
      const added = Object.keys(seen).filter(
        (name) => !(name in known) && !/^(PACELINE_|NODE_APP_INSTANCE$)/.test(name),
      );
      // The same on both runtimes.
      expect(added).toEqual([]);
      expect([seen.BUN_OPTIONS, seen.BUN_INSPECT_PRELOAD]).toEqual([undefined, undefined]);
      expect(seen).toMatchObject({ NODE_PATH: "/kept", LISTED: "1", KEPT: "1", PWD: project.folder });
    }

    project.write(LISTED, "KEPT=1\n");
    expect((await cli("reload")).code).toBe(0);
    const after = (await see("/")).env;
    expect([after.LISTED, after.KEPT]).toEqual([undefined, "1"]);
    expect((await cli("stop")).code).toBe(0);

    const serve = ["serve", "./app.ts", "--socket", "alone.sock", "--", "--runtime", "two words"];
    const alone = run(paceline, serve, { cwd: project.folder, env });
    const asked = () => askControl(join(project.folder, "alone.sock"), "/").catch(() => undefined);
    expect(JSON.parse(await waitFor("the server alone", asked)).argv).toEqual([
      join(project.folder, "app.ts"),
      "--runtime",
      "two words",
    ]);
    for (const pid of project.processes()) process.kill(pid, "SIGTERM");
    expect((await alone).code).toBe(0);
    expect(existsSync(log) ? readFileSync(log, "utf8") : "").toBe("");
  });
});
