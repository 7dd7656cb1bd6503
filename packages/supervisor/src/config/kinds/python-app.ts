/** How the kinds `wsgi` and `asgi` name an app of Python: `mysite.wsgi:application`, `./graphite.wsgi`, `shop:create_app("prod")`. */
import { isPythonFile, resolveFile } from "../paths.js";
import type { KindContext } from "./kind.js";

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
