/** Puts each program that stays running into one file, beside what the compiler wrote: a module costs every process that loads it. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** What the compiler wrote of each program; its bundle lies in `dist/bundle` under the same name. */
const ENTRIES = [
  { entry: "packages/server/dist/bin.js" },
  { entry: "packages/server/dist/kinds/command/bin.js" },
  { entry: "packages/server/dist/app/load-only.js", packages: true },
  { entry: "packages/balancer/dist/bin.js" },
  { entry: "packages/supervisor/dist/cli/main.js", packages: true },
  // It runs where the operator's tsconfig.json holds, whose `paths` would reach imports of packages.
  { entry: "packages/supervisor/dist/config/load-child.js", packages: true },
];

/** jiti finds files of its own beside it, and so does blessed. */
const KEPT_APART = ["jiti", "blessed"];

async function bundle({ entry, packages = false }) {
  const folder = join(root, dirname(entry), "bundle");
  rmSync(folder, { recursive: true, force: true });
  const build = await rolldown({
    input: join(root, entry),
    platform: "node",
    // Packages that have both are better bundled as modules.
    resolve: { mainFields: ["module", "main"] },
    // What one program imports on demand, another may load at once.
    checks: { ineffectiveDynamicImport: false },
    // Only our own packages, unless the entry says otherwise: what else a program uses stays where npm puts it.
    external: (id) =>
      !/^(\.|\/|@paceline\/)/.test(id) &&
      (!packages || KEPT_APART.includes(id) || isBuiltin(id) || id.startsWith("bun:")),
  });
  const { output } = await build.write({
    dir: folder,
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    comments: false,
    // Each process keeps the text of what it runs: without indentation that is 0.5 MB less in 30. Names stay, for stack traces.
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
    // Bun reads what is marked so as it is, and does not parse it twice: that leaves 0.1 MB less in each process.
    postBanner: "// @bun",
  });
  await build.close();
  for (const { fileName } of output) toAscii(join(folder, fileName));
}

/** Bun reads what is marked so byte by byte: text beyond ASCII would come out as something else. */
function toAscii(file) {
  const text = readFileSync(file, "utf8");
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  writeFileSync(file, text.replace(/[\u0080-\uffff]/g, escaped));
}

await Promise.all(ENTRIES.map(bundle));
