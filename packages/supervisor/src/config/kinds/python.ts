/** The code that Python kinds share: the interpreter, how it starts an instance, and how apps are named. */
import { spawnSync } from "node:child_process";
import type { Launch } from "../../core/model.js";
import { builtFile } from "../../package.js";
import { flag, text } from "../fields.js";
import { findProgram, isPythonFile, resolveFile } from "../paths.js";
import type { KindContext } from "./kind.js";

const OLDEST = [3, 9] as const;
/** An interpreter that takes longer than this to print its version is refused. In milliseconds. */
const ASK_TIMEOUT_MS = 18_000;

/** The maximum number of requests at one instance, because WSGI code handles one request at a time. */
export const PYTHON_MAX_IN_FLIGHT = 1;

export const python = text(
  "The Python interpreter, 3.9 or newer, for `wsgi`, `asgi` and `fapws`: a path relative to the config file's folder, such as `.venv/bin/python`, or a name on PATH. Default: `python3`.",
);

export const preload = flag(
  false,
  "In `wsgi` and `fapws` pools: one process loads the app and forks the instances, which share its memory and start at once. See [python.md](python.md#preload).",
);

/** Returns how the interpreter `given` starts an instance. Problems are reported under `python`. */
export function launchPython(given: string | undefined, { baseDir, searchPath, report }: KindContext): Launch {
  // Symbolic links are kept, because an interpreter finds its virtual environment by the path with which it was started.
  const found = findProgram(given ?? "python3", baseDir, searchPath);
  const hint = given === undefined ? "; set `python` to the interpreter" : "";
  const problem = typeof found === "string" ? problemWith(found, baseDir) : found.problem + hint;
  if (problem !== undefined) report(["python"], problem);
  return { command: typeof found === "string" ? found : "", args: [PYTHON_ENTRY] };
}

const PYTHON_ENTRY = builtFile("python/start.py");

function problemWith(command: string, cwd: string): string | undefined {
  // Also valid in Python 2.
  const question = "import sys; print('%d.%d' % sys.version_info[:2])";
  const asked = spawnSync(command, ["-c", question], { cwd, timeout: ASK_TIMEOUT_MS, encoding: "utf8" });
  const version = /^(\d+)\.(\d+)\n$/.exec(asked.stdout ?? "");
  if (version === null) {
    const why = asked.error?.message ?? (asked.stderr ?? "").trim().split("\n").at(-1) ?? "";
    return `${command} is not a working Python interpreter${why === "" ? "" : `: ${why}`}`;
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return undefined;
  return `${command} is Python ${major}.${minor}; ${OLDEST.join(".")} or newer is needed`;
}

/** A module or a file, then an attribute, then the arguments of a call, which the instance checks. */
const NAME = /^(.+?)(?::([^\W\d]\w*(?:\.[^\W\d]\w*)*(?:\(.*\))?))?$/su;
const MODULE = /^[^\W\d]\w*(\.[^\W\d]\w*)*$/u;

/** Returns the app's name for the instances, with the absolute path of a file. Problems are reported at `path`. */
export function readPythonApp(path: string[], name: string, example: string, context: KindContext): string {
  const [, place = "", attribute] = NAME.exec(name) ?? [];
  if (isPythonFile(place)) {
    const file = resolveFile(place, context.baseDir);
    if (file === undefined) context.report(path, `there is no such file: ${place}`);
    return attribute === undefined ? `${file}` : `${file}:${attribute}`;
  }
  if (!MODULE.test(place)) {
    const given = JSON.stringify(name);
    context.report(path, `must be a module or a file and its callable, such as "${example}", not ${given}`);
  }
  return name;
}
