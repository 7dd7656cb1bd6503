/** What the kinds of pools that run Python have in common: the interpreter, how an instance is started on it, and how an app is named. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Launch } from "../../core/model.js";
import { flag, text } from "../fields.js";
import { findProgram, isPythonFile, resolveFile } from "../paths.js";
import type { KindContext } from "./kind.js";

const OLDEST = [3, 9] as const;
/** An interpreter that says nothing for so long is not one to start instances on. */
const ASK_TIMEOUT_MS = 10_000;

/** A pool has at most this many requests at an instance: WSGI code answers one after the other. */
export const PYTHON_MAX_IN_FLIGHT = 1;

export const python = text(
  "The Python interpreter, 3.9 or newer, for `wsgi`, `asgi` and `fapws`: a path relative to the config file's folder, such as `.venv/bin/python`, or a name on PATH. Default: `python3`.",
);

export const preload = flag(
  false,
  "In `wsgi` and `fapws` pools: one process loads the app and forks the instances from itself; they share its memory and start at once. See [python.md](python.md#preload).",
);

/** What an instance is started as on the interpreter that `given` means; what is wrong with that is reported under `python`. */
export function launchPython(given: string | undefined, { baseDir, searchPath, report }: KindContext): Launch {
  // Links are not followed: what an interpreter of a virtual environment is goes by the path it was started with.
  const found = findProgram(given ?? "python3", baseDir, searchPath);
  const hint = given === undefined ? "; set `python` to the interpreter" : "";
  const problem = typeof found === "string" ? problemWith(found, baseDir) : found.problem + hint;
  if (problem !== undefined) report(["python"], problem);
  return { command: typeof found === "string" ? found : "", args: [PYTHON_ENTRY] };
}

const PYTHON_ENTRY = fileURLToPath(import.meta.resolve("@paceline/server/python"));

function problemWith(command: string, cwd: string): string | undefined {
  // Words that Python 2 understands too.
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

/** A module or a file, then the attribute, then the arguments of a call, which an instance checks. */
const NAME = /^(.+?)(?::([^\W\d]\w*(?:\.[^\W\d]\w*)*(?:\(.*\))?))?$/su;
const MODULE = /^[^\W\d]\w*(\.[^\W\d]\w*)*$/u;

/** The name as an instance is to have it: with the absolute path of a file. Where it is wrong, that is reported at `path`. */
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
