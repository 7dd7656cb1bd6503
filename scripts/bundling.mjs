/** How programs and public modules are bundled into few files: each module costs memory per process. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { findRuntimes } from "../packages/supervisor/dist/runtime/runtimes.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * The files of the command line. At a start on Node, each file costs as much time as 20 KB of code. So there is one file for what every
 * command needs, one for commands about a running fleet, and one for commands that start a fleet. What else the supervisor shares with
 * commands is one more file.
 */
const STAGES = {
  base: ["cli/program.js"],
  fleet: ["fleet/find-fleet.js", "fleet/fleet.js", "cli/operate.js", "cli/format-status.js"],
  start: ["cli/start-detached.js", "fleet/create-fleet.js"],
  shared: "cli/start-foreground.js",
};

/**
 * The compiler's output for each program, and its folder in the package's `dist`. A program with a top-level await of one of its own files
 * cannot start as one file: that file would wait for the program.
 */
const PROGRAMS = [
  { entry: "packages/server/dist/bin.js", folder: "programs/server", startsAsOneFile: true },
  { entry: "packages/server/dist/kinds/command/bin.js", folder: "programs/command" },
  { entry: "packages/server/dist/app/load-only.js", folder: "programs/load-only" },
  { entry: "packages/balancer/dist/bin.js", folder: "programs/balancer" },
  { entry: "packages/supervisor/dist/cli/main.js", folder: "programs/cli", stages: STAGES },
  { entry: "packages/supervisor/dist/config/load-child.js", folder: "programs/config", hasBytecode: true },
];

/** jiti and blessed find their own files next to their modules. The published package has only these dependencies. */
export const KEPT_APART = ["jiti", "blessed"];

/** Bundles the programs below the folder `dist`. Resolves with the files that each bundle contains. */
export function bundlePrograms(dist) {
  return Promise.all(
    PROGRAMS.map(async ({ entry, folder, hasBytecode, ...options }) => {
      const files = await bundle([join(ROOT, entry)], join(dist, folder), options);
      if (hasBytecode) await compile(join(ROOT, entry), join(dist, folder));
      return files;
    }),
  );
}

/** What all bundles have in common. */
const INPUT_OPTIONS = {
  cwd: ROOT,
  platform: "node",
  // Packages with both formats are better bundled as ES modules.
  resolve: { mainFields: ["module", "main"] },
  // One program may import on demand what another imports at its start.
  checks: { ineffectiveDynamicImport: false },
  external: (id) => KEPT_APART.includes(id) || isBuiltin(id) || id.startsWith("bun:"),
};

/** Each process keeps its source text in memory: without indentation that is 0.5 MB less in 30. Names stay, for stack traces. */
const MINIFY = { compress: false, mangle: false, codegen: { removeWhitespace: true } };

/**
 * Bundles the modules `input`, with all packages that they import, into `folder`; returns the files that the bundle contains. With
 * `startsAsOneFile`, everything that is imported without `import()` is one file; `stages` has the form of STAGES. Packages are included
 * because some programs run with the operator's tsconfig.json, whose `paths` affect imports.
 */
export async function bundle(input, folder, { startsAsOneFile = false, stages } = {}) {
  const start = staticImports(stages);
  const build = await rolldown({ ...INPUT_OPTIONS, input, plugins: [start.plugin] });
  const { output } = await build.write({
    dir: folder,
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    comments: false,
    ...((startsAsOneFile || stages) && { codeSplitting: { groups: start.groups } }),
    minify: MINIFY,
    // Bun does not parse such a file twice, which saves 0.1 MB per process.
    postBanner: "// @bun",
  });
  await build.close();
  for (const { fileName } of output) toAscii(join(folder, fileName));
  return output.flatMap(({ moduleIds = [] }) => moduleIds);
}

/** The files that `compile` writes. */
const COMPILED = ["compiled.js", "compiled.js.jsc"];

/**
 * Writes the program `input` as `compiled.js` with its bytecode beside it. Bun then parses nothing, which saves a short process a quarter of
 * its CPU time; another version of Bun than this one ignores the bytecode. Writes nothing if Bun is not installed or cannot run here.
 */
async function compile(input, folder) {
  const { bun } = findRuntimes();
  if (bun === undefined) return;
  const build = await rolldown({ ...INPUT_OPTIONS, input });
  const { output } = await build.generate({ format: "cjs", comments: false, minify: MINIFY });
  await build.close();
  const scratch = mkdtempSync(join(tmpdir(), "paceline-compile-"));
  try {
    const [{ code }] = output;
    // Bun would replace `__filename` by this file's present path.
    writeFileSync(join(scratch, "compiled.js"), code.replaceAll("__filename", "Object(module).filename"));
    const options = ["--bytecode", "--target=bun", "--format=cjs", "--minify-whitespace", "--outdir=out"];
    const kept = KEPT_APART.flatMap((name) => ["--external", name]);
    const built = spawnSync(bun, ["build", "compiled.js", ...options, ...kept], {
      ...{ cwd: scratch, encoding: "utf8", env: { ...process.env, BUN_OPTIONS: undefined } },
    });
    if (built.status === 0 && output.length === 1)
      for (const name of COMPILED) copyFileSync(join(scratch, "out", name), join(folder, name));
    else
      process.stderr.write(`${input}: without bytecode: bun build: ${built.stderr || built.error || built.signal}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The module that only exports what other modules export. */
const INDEX = join(ROOT, "packages/wire/dist/index.js");
const FROM_INDEX = /^import\s*\{([^}]*)\}\s*from\s*"@paceline\/wire"/gm;

/**
 * Returns a plugin, and the groups of modules that become one file each: those of the stages, or what the entry imports without `import()`.
 */
function staticImports(stages) {
  const found = new Map();
  const plugin = {
    name: "static-imports",
    buildEnd() {
      const infoOf = (id) => this.getModuleInfo(id);
      const all = [...this.getModuleIds()];
      const closure = (ids) => closureOf(ids, infoOf);
      if (stages === undefined) return void found.set("start", closure(all.filter((id) => infoOf(id)?.isEntry)));
      const named = (names) => all.filter((id) => names.some((name) => id.endsWith(`/supervisor/dist/${name}`)));
      const [program] = named(stages.base);
      const { shared, ...others } = stages;
      for (const [name, modules] of Object.entries(others)) found.set(name, closure(named(modules)));
      // The program's own module stays apart, so that its exports keep their names.
      found.get("base").delete(program);
      const [supervisor] = named([shared]);
      const onDemand = new Set(all.flatMap((id) => infoOf(id)?.dynamicallyImportedIds ?? []));
      const elsewhere = closure([...onDemand].filter((id) => id !== supervisor && id !== program));
      found.set("shared", new Set([...closure([supervisor])].filter((id) => elsewhere.has(id))));
    },
  };
  const names = stages === undefined ? ["start"] : Object.keys(stages);
  const groups = names.map((name, at) => ({
    name,
    priority: names.length - at,
    test: (id) => found.get(name)?.has(id) === true,
  }));
  return { plugin, groups };
}

/** Returns these modules and what they import without `import()`. Of the exports of an index, only those that are named count. */
function closureOf(ids, infoOf) {
  const found = new Set();
  const named = new Set();
  const waiting = [...ids];
  for (;;) {
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      if (found.has(id)) continue;
      found.add(id);
      const { code = "", importedIds = [] } = infoOf(id) ?? {};
      for (const [, names = ""] of (code ?? "").matchAll(FROM_INDEX))
        for (const name of names.split(",")) named.add(name.trim().split(/\s+as\s+/)[0]);
      if (id !== INDEX) waiting.push(...importedIds);
    }
    const passedOn = found.has(INDEX) ? (infoOf(INDEX)?.importedIds ?? []) : [];
    waiting.push(...passedOn.filter((id) => !found.has(id) && infoOf(id)?.exports.some((name) => named.has(name))));
    if (waiting.length === 0) return found;
  }
}

/** Bun reads such a file byte by byte, so non-ASCII text would be garbled. */
function toAscii(file) {
  const text = readFileSync(file, "utf8");
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  writeFileSync(file, text.replace(/[\u0080-\uffff]/g, escaped));
}
