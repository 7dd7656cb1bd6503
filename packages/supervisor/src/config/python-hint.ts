/** Says what to type where `paceline start` was given Python in the place of a config or an app. */
import { closeSync, openSync, readSync } from "node:fs";
import { resolve } from "node:path";

const MAX_BYTES = 64 << 10;

/** What shows in a file which kind it is, and under which name it has its callable. */
const SIGNS: readonly (readonly [RegExp, "wsgi" | "asgi"])[] = [
  [/^(\w+)(?:\s*:[^=\n]*)?\s*=\s*(?:\w+\.)*(?:FastAPI|Starlette|Quart|Litestar|get_asgi_application)\(/m, "asgi"],
  [/^async def (\w+)\(\s*scope\b/m, "asgi"],
  [/^(\w+)(?:\s*:[^=\n]*)?\s*=\s*(?:\w+\.)*(?:Flask|Bottle|get_wsgi_application)\(/m, "wsgi"],
  [/^def (\w+)\(\s*environ\b/m, "wsgi"],
];

/** For a file in Python that is there; undefined for others. */
export function hintOnPythonFile(target: string, path: string): string | undefined {
  if (!/\.(py|wsgi)$/.test(path)) return undefined;
  const shown = /^[/.]/.test(target) ? target : `./${target}`;
  const source = readHead(path);
  for (const [sign, kind] of SIGNS) {
    const name = sign.exec(source)?.[1];
    if (name !== undefined) return `is Python: paceline start --${kind} ${shown}:${name}`;
  }
  if (/^\s*(?:import|from)\s+fapws\b/m.test(source)) return `is Python: paceline start --fapws ${shown}`;
  return `is Python: paceline start --wsgi ${shown}:NAME (Flask, Django), --asgi ${shown}:NAME (FastAPI, Starlette) or --fapws ${shown}`;
}

/** For `module:attribute`, which is no file; undefined for what does not look so. */
export function hintOnCallable(target: string, cwd: string): string | undefined {
  const [, module, name] = /^([\w.]+(?:\/[\w./-]+)?):(\w[\w.]*(?:\(.*\))?)$/.exec(target) ?? [];
  if (module === undefined || name === undefined || /^\d+$/.test(name)) return undefined;
  const file = module.endsWith(".py") ? module : `${module.replaceAll(".", "/")}.py`;
  const source = readHead(resolve(cwd, file));
  const kinds = SIGNS.filter(([sign]) => sign.test(source)).map(([, kind]) => kind);
  const shown = name.includes("(") ? `'${target}'` : target;
  const [kind] = kinds;
  if (kind !== undefined) return `is a callable of Python: paceline start --${kind} ${shown}`;
  return `is a callable of Python: paceline start --wsgi ${shown} (Flask, Django) or --asgi ${shown} (FastAPI, Starlette)`;
}

/** The first part of a file; nothing where it cannot be read. */
function readHead(path: string): string {
  try {
    const fd = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(MAX_BYTES);
      return bytes.toString("latin1", 0, readSync(fd, bytes, 0, MAX_BYTES, 0));
    } finally {
      closeSync(fd);
    }
  } catch {
    return "";
  }
}
