/** Tells a fetch function `(request, info)` from a Node handler `(req, res)` by the parameters it declares. Pure. */

/**
 * By the source of a function:
 * - with fewer than two parameters it is a fetch function, since a Node handler cannot answer without its second one;
 * - with a second one named `res` or `response` it is a Node handler; with one named `info`, or taken apart as
 *   `{ clientAddress }`, a fetch function, since a response does not work when it is taken apart.
 *
 * Undefined where that decides nothing: other names, rest parameters, `arguments`, bound and native functions.
 */
export function styleOfFunction(source: string): "fetch" | "node" | "class" | undefined {
  if (/^class\b/.test(source)) return "class";
  if (/\{\s*\[native code\]\s*\}$/.test(source)) return undefined;
  const parameters = parametersOf(source);
  if (parameters === undefined || parameters.slice(0, 2).some((it) => it.startsWith("..."))) return undefined;
  const [, second] = parameters;
  if (second === undefined) return /\barguments\b/.test(source) ? undefined : "fetch";
  if (second.startsWith("{")) return "fetch";
  const name = /^[\w$]+/.exec(second)?.[0] ?? "";
  if (/^_*res(?:p|ponse)?$/i.test(name)) return "node";
  if (/^_*(?:request)?info$/i.test(name)) return "fetch";
  return undefined;
}

/** Each declared parameter as it is written, without comments; undefined when the source cannot be read that far. */
function parametersOf(source: string): string[] | undefined {
  const single = /^(?:async\s+)?([\w$]+)\s*=>/.exec(source)?.[1];
  if (single !== undefined) return [single];
  const list: string[] = [];
  let parameter = "";
  let depth = 0;
  let isList = false;
  for (const token of source.match(TOKENS) ?? []) {
    if (token.startsWith("//") || token.startsWith("/*")) continue;
    // A string without an end: something was not understood.
    if (/^["'`]$/.test(token)) return undefined;
    if (/^[)\]}]$/.test(token) && --depth === 0 && isList) {
      if (parameter.trim() !== "") list.push(parameter.trim());
      return list;
    }
    if (isList && depth === 1 && token === ",") {
      list.push(parameter.trim());
      parameter = "";
    } else if (isList) parameter += token;
    // What comes before the list can be a computed name, in brackets of its own.
    if (depth === 0 && token === "(") isList = true;
    if (/^[([{]$/.test(token)) depth++;
  }
  return undefined;
}

/** Comments, strings, and every other character by itself. */
const TOKENS = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|[\s\S]/g;
