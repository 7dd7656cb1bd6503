/** Builds `dist/paceline`, an executable for machines without Node: Bun together with the package of `npm run pack`. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { findRuntimes } from "../packages/supervisor/dist/runtime/runtimes.js";
import { KEPT_APART } from "./bundling.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
/** The package to include, and the file to write. */
const [source = join(root, "dist/npm"), executable = join(root, "dist/paceline")] = process.argv.slice(2);
const folder = `${executable}.parts`;

/** Files that only an installer or a reader needs. */
const LEFT_OUT = /^(bin|docs|README\.md|dist\/types)(\/|$)|\.(d\.[cm]?ts|map)$/;

function filesOf(from, to) {
  return readdirSync(from, { recursive: true, encoding: "utf8" })
    .filter((name) => !LEFT_OUT.test(name) && statSync(join(from, name)).isFile())
    .sort()
    .map((name) => [join(to, name), readFileSync(join(from, name)).toString("base64")]);
}

const files = filesOf(source, "node_modules/paceline");
for (const name of KEPT_APART) {
  files.push(...filesOf(join(root, "packages/supervisor/node_modules", name), join("node_modules", name)));
}
const { version, exports } = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
for (const [name, place] of Object.entries(exports)) {
  if (typeof place === "string") continue;
  const text = `export * from "../../node_modules/paceline/${place.default}";\n`;
  files.push([
    join("modules/paceline", name === "." ? "index.js" : `${name}.js`),
    Buffer.from(text).toString("base64"),
  ]);
}
const content = JSON.stringify(Object.fromEntries(files));
const name = `paceline-${version}-${createHash("sha256").update(content).digest("hex").slice(0, 12)}`;

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "payload.gz"), gzipSync(content, { level: 9 }));
copyFileSync(join(root, "scripts/executable-main.mjs"), join(folder, "main.mjs"));
const { bun } = findRuntimes();
if (bun === undefined) throw new Error("Bun is not installed: it is what the executable consists of");
const options = [
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
  "--compile-exec-argv=--smol --no-install",
];
const built = spawnSync(
  bun,
  ["build", "--compile", ...options, "--define", `NAME=${JSON.stringify(name)}`, "main.mjs", "--outfile", executable],
  { cwd: folder, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, BUN_OPTIONS: undefined } },
);
if (built.status !== 0) process.exit(1);
process.stdout.write(`${relative(root, executable)}: ${Math.round(statSync(executable).size / 1e6)} MB\n`);
