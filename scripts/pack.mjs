/** Builds the package to publish, `dist/npm`, from the built packages, and its tarball in the same folder. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { bundle, bundlePrograms, KEPT_APART } from "./bundling.mjs";
import { collectDeclarations } from "./declarations.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const source = join(root, "packages/supervisor");
const target = resolve(root, process.argv[2] ?? "dist/npm");

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));
const write = (name, text) => {
  mkdirSync(dirname(join(target, name)), { recursive: true });
  writeFileSync(join(target, name), text);
};

/** Returns the manifest to publish: its exports lead to the bundles, and bundled packages are not dependencies. */
function manifestOf({ exports, dependencies, optionalDependencies, devDependencies: _, ...own }, foundInTypes) {
  const entry = (name) => name.replace(/^\.\/dist\/(.*)\.js$/, "$1");
  const published = Object.entries(exports).map(([name, place]) => {
    if (typeof place === "string") return [name, place];
    const module = entry(place.default);
    return [name, { types: `./dist/types/supervisor/${module}.d.ts`, default: `./dist/api/${module}.js` }];
  });
  const needed = [...KEPT_APART, ...foundInTypes].sort();
  const { GITHUB_SERVER_URL, GITHUB_REPOSITORY } = process.env;
  const provenance = GITHUB_REPOSITORY && {
    repository: { type: "git", url: `git+${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}.git` },
  };
  return {
    ...own,
    ...provenance,
    exports: Object.fromEntries(published),
    files: ["bin", "dist", "docs", "THIRD-PARTY-LICENSES.txt"],
    dependencies: Object.fromEntries(needed.map((name) => [name, exact(name, dependencies[name])])),
    optionalDependencies,
  };
}

function exact(name, version) {
  if (/^\d+\.\d+\.\d+$/.test(version ?? "")) return version;
  throw new Error(`${name} needs an exact version in packages/supervisor/package.json, not ${version}`);
}

/** Returns the licenses of the packages that own `files`, which are parts of our bundles. */
function licensesOf(files) {
  const folders = new Set();
  for (const file of files) {
    const at = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1];
    if (at !== undefined) folders.add(at);
  }
  const texts = [...folders].map((folder) => {
    const { name, version, license } = readJson(join(folder, "package.json"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined && license !== "MIT") throw new Error(`${name} has no license file`);
    return `${name} ${version} (${license})\n\n${file === undefined ? "" : readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  return `Paceline contains code of these packages.\n\n${[...new Set(texts)].sort().join(`\n${"-".repeat(80)}\n\n`)}`;
}

/**
 * Returns the text of a page without links to files that only the repository has: they become links to the repository if its address is
 * known, and plain text otherwise.
 * @param path the path of the page in the package
 */
function withoutLostLinks(text, path, repository) {
  return text.replace(/\[([^\]]*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)/g, (link, label, file, anchor = "") => {
    const place = join(dirname(path), file);
    if (existsSync(join(target, place))) return link;
    const url = /^git\+(https:.*)\.git$/.exec(repository?.url ?? "")?.[1];
    return url === undefined ? label : `[${label}](${url}/blob/HEAD/${place}${anchor})`;
  });
}

rmSync(target, { recursive: true, force: true });
const manifest = readJson(join(source, "package.json"));
const modules = Object.values(manifest.exports).flatMap((place) => (typeof place === "string" ? [] : [place.default]));
const bundled = await Promise.all([
  bundlePrograms(join(target, "dist")),
  bundle(
    modules.map((module) => join(source, module)),
    join(target, "dist/api"),
  ),
]);
const declarations = collectDeclarations(modules.map((module) => join(source, module.replace(/\.js$/, ".d.ts"))));
for (const [path, text] of declarations.files) write(join("dist/types", path), text);
const isPython = (path) => !path.endsWith("__pycache__");
cpSync(join(root, "packages/server/python"), join(target, "dist/python"), { recursive: true, filter: isPython });
cpSync(join(source, "bin"), join(target, "bin"), { recursive: true });
// Messages refer to these pages.
cpSync(join(root, "docs"), join(target, "docs"), { recursive: true });
for (const name of ["schema.json", "page.html", "man"])
  cpSync(join(source, "dist", name), join(target, "dist", name), { recursive: true });
for (const name of ["README.md", "LICENSE"]) cpSync(join(root, name), join(target, name));
write("THIRD-PARTY-LICENSES.txt", licensesOf(bundled.flat(2)));
const published = manifestOf(manifest, declarations.packages);
write("package.json", `${JSON.stringify(published, null, 2)}\n`);
for (const page of ["README.md", ...readdirSync(join(root, "docs")).map((name) => join("docs", name))])
  if (page.endsWith(".md"))
    write(page, withoutLostLinks(readFileSync(join(target, page), "utf8"), page, published.repository));

const tarballs = dirname(target);
const packed = spawnSync("npm", ["pack", "--json", "--pack-destination", tarballs], {
  cwd: target,
  encoding: "utf8",
  stdio: ["ignore", "pipe", "inherit"],
});
if (packed.status !== 0) process.exit(1);
const [{ filename, size, unpackedSize, entryCount }] = JSON.parse(packed.stdout);
const tarball = join(tarballs, filename);
if (!existsSync(tarball)) throw new Error(`npm did not write ${tarball}`);
const kilobytes = (bytes) => `${Math.round(bytes / 1000)} kB`;
process.stdout.write(
  `${relative(root, tarball)}: ${kilobytes(size)}, unpacked ${kilobytes(unpackedSize)}, ${entryCount} files\n`,
);
