/** Bundles each long-running program into one file beside the compiler's output: each module costs memory per process. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** The compiler's output of each program; its bundle is in `dist/bundle` under the same name. */
const ENTRIES = [
  { entry: "packages/server/dist/bin.js" },
  { entry: "packages/server/dist/kinds/command/bin.js" },
  { entry: "packages/server/dist/app/load-only.js", packages: true },
  { entry: "packages/balancer/dist/bin.js" },
  { entry: "packages/supervisor/dist/cli/main.js", packages: true },
  // It runs under the operator's tsconfig.json, whose `paths` would affect imports of packages.
  { entry: "packages/supervisor/dist/config/load-child.js", packages: true },
];

/** jiti finds its own files beside it, and so does blessed. */
const KEPT_APART = ["jiti", "blessed"];

async function bundle({ entry, packages = false }) {
  const folder = join(root, dirname(entry), "bundle");
  rmSync(folder, { recursive: true, force: true });
  const build = await rolldown({
    input: join(root, entry),
    platform: "node",
    // Packages with both forms are better bundled as modules.
    resolve: { mainFields: ["module", "main"] },
    // One program may import on demand what another imports at once.
    checks: { ineffectiveDynamicImport: false },
    // Bundles only our own packages, unless the entry says otherwise: others stay where npm puts them.
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
    // Each process keeps its source text: without indentation that is 0.5 MB less in 30. Names stay, for stack traces.
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
    // Bun does not parse such a file twice, which saves 0.1 MB per process.
    postBanner: "// @bun",
  });
  await build.close();
  for (const { fileName } of output) toAscii(join(folder, fileName));
}

/** Bun reads such a file byte by byte: non-ASCII text would be garbled. */
function toAscii(file) {
  const text = readFileSync(file, "utf8");
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  writeFileSync(file, text.replace(/[\u0080-\uffff]/g, escaped));
}

await Promise.all(ENTRIES.map(bundle));
