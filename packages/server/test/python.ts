/** Finds Python interpreters for tests; without a suitable one, a test prints the reason and is skipped. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The program of a Python instance. */
export const PYTHON_ENTRY = fileURLToPath(new URL("../python/start.py", import.meta.url));

/** Debian's interpreter has the packages of apt; another one may have others. */
function candidates(): string[] {
  const folders = [...(process.env.PATH ?? "").split(delimiter).filter(Boolean), "/usr/bin"];
  return [...new Set(folders.map((folder) => join(folder, "python3")))].filter((path) => existsSync(path));
}

const known = new Map<string, string | undefined>();

/** Returns an interpreter of at least 3.9 that can import these modules. */
export function findPython(...modules: string[]): string | undefined {
  const key = modules.join();
  // Importing a framework takes up to half a second.
  if (!known.has(key)) known.set(key, searchPython(modules));
  return known.get(key);
}

function searchPython(modules: string[]): string | undefined {
  const imports = modules.map((name) => `import ${name}\n`).join("");
  const program = `import sys\nassert sys.version_info >= (3, 9)\n${imports}print(sys.executable)`;
  for (const candidate of candidates()) {
    const { status, stdout } = spawnSync(candidate, ["-c", program], { encoding: "utf8", timeout: 20_000 });
    if (status === 0) return stdout.trim();
  }
  return undefined;
}
