/** Collects the compiler's declarations that public modules need, with relative imports only. */
import { existsSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGES = join(dirname(fileURLToPath(import.meta.url)), "../packages");
const SPECIFIER = /(\bfrom |\bimport\(|^import )"([^"]+)"/gm;

/**
 * Returns every declaration file that `entries` reach, as texts by path (`supervisor/index.d.ts`), and the external packages that they
 * import.
 */
export function collectDeclarations(entries) {
  const files = new Map();
  const packages = new Set();
  const queue = [...entries];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    const path = publishedPath(file);
    if (files.has(path)) continue;
    const from = file;
    const text = readFileSync(file, "utf8").replace(SPECIFIER, (whole, before, specifier) => {
      const found = locate(from, specifier);
      if (found === undefined) {
        if (!isBuiltin(specifier)) packages.add(/^(@[^/]+\/)?[^/]+/.exec(specifier)[0]);
        return whole;
      }
      queue.push(found);
      const to = relative(dirname(path), publishedPath(found)).replace(/\.d\.ts$/, ".js");
      return `${before}"${to.startsWith(".") ? to : `./${to}`}"`;
    });
    files.set(path, text);
  }
  return { files, packages: [...packages] };
}

/** `packages/server/dist/x.d.ts` becomes `server/x.d.ts`. */
function publishedPath(file) {
  return relative(PACKAGES, file).replace("/dist/", "/");
}

/** Returns the declaration file that `specifier` means in the file `from`; undefined if it belongs to another package. */
function locate(from, specifier) {
  if (specifier.startsWith(".")) return join(dirname(from), specifier.replace(/\.js$/, ".d.ts"));
  const [, name, subpath] = /^@paceline\/([^/]+)(\/.*)?$/.exec(specifier) ?? [];
  if (name === undefined) return undefined;
  const { exports } = JSON.parse(readFileSync(join(PACKAGES, name, "package.json"), "utf8"));
  const [pattern, place] = Object.entries(exports).find(([key]) => matches(key, `.${subpath ?? ""}`)) ?? [];
  const types = place?.types.replace("*", `.${subpath ?? ""}`.slice((pattern ?? "").length - 1));
  const file = types && join(PACKAGES, name, types);
  if (!file || !existsSync(file)) throw new Error(`${from}: no declarations for ${specifier}`);
  return file;
}

function matches(key, subpath) {
  return key.endsWith("*") ? subpath.startsWith(key.slice(0, -1)) : key === subpath;
}
