/** The kind `wsgi`: Python WSGI callables (PEP 3333), such as a Django project. */
import { count, textOrTable } from "../fields.js";
import { type KindContext, poolKind, REQUEST_TIMEOUT_MS, requestTimeoutMs, sticky } from "./kind.js";

import { launchPython, PYTHON_MAX_IN_FLIGHT, preload, python, readPythonApp } from "./python.js";

const EXAMPLE = "mysite.wsgi:application";

export const wsgi = poolKind({
  name: "wsgi",
  fields: {
    wsgi: textOrTable(
      'A Python WSGI callable: `"mysite.wsgi:application"`, `"package.module:factory(\'prod\')"`, `"./graphite.wsgi"`. Without a colon: `application` of the module or file, or else `app`. For several callables in one instance, a table by path prefix, such as `{ "/": "site:app", "/api/": "api:app" }`: the longest matching prefix is used, and moves to SCRIPT_NAME. `cwd` is first on `sys.path`.',
    ),
    python,
    threads: count(
      PYTHON_MAX_IN_FLIGHT,
      "In `wsgi` pools: how many requests an instance runs at once, each on its own thread, which helps views that wait for a database or another server. The app must be thread-safe. `1`: views run on the main thread. See [python.md](python.md#threads).",
      { max: 512 },
    ),
    preload,
    requestTimeoutMs,
    sticky,
  },
  defaultInstances: 4,
  resolve(keys, context) {
    const { wsgi: given = "", threads = PYTHON_MAX_IN_FLIGHT } = keys;
    const wsgi =
      typeof given === "string" ? readPythonApp(["wsgi"], given, EXAMPLE, context) : readTable(given, context);
    return {
      source: typeof wsgi === "string" ? wsgi : Object.values(wsgi).join(", "),
      relayed: { sendsFiles: true },
      workload: { wsgi, ...(threads > 1 && { threads }) },
      launch: launchPython(keys.python, context),
      ...(keys.preload && { preload: true }),
      maxInFlight: threads,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
    };
  },
});

function readTable(table: Record<string, string>, context: KindContext): Record<string, string> {
  const prefixes = Object.keys(table);
  if (prefixes.length === 0) context.report(["wsgi"], "must name at least one callable");
  const known = new Map<string, string>();
  for (const prefix of prefixes) {
    const bare = prefix.replace(/\/+$/, "");
    const other = known.get(bare);
    if (!prefix.startsWith("/")) context.report(["wsgi", prefix], 'a prefix begins with "/"');
    else if (other !== undefined) context.report(["wsgi", prefix], `is the same prefix as "${other}"`);
    known.set(bare, prefix);
  }
  return Object.fromEntries(
    prefixes.map((prefix) => [prefix, readPythonApp(["wsgi", prefix], table[prefix] as string, EXAMPLE, context)]),
  );
}
