/** The kind `asgi`: asynchronous Python apps (FastAPI, Starlette, Quart, Django), run by the user's own uvicorn or hypercorn. */
import { text, valueTable, word } from "../fields.js";
import { maxInFlight, poolKind, REQUEST_TIMEOUT_MS, requestTimeoutMs, sticky } from "./kind.js";
import { launchPython, python, readPythonApp } from "./python.js";

/**
 * Options that are not allowed: the pool decides where uvicorn and hypercorn serve and how many there are, the balancer which proxies to
 * trust.
 */
const NOT_OPTIONS = new Set([
  ...["app", "factory", "host", "port", "uds", "fd", "workers", "reload", "proxy_headers", "forwarded_allow_ips"],
  ...["root_path", "timeout_keep_alive", "timeout_graceful_shutdown", "limit_max_requests"],
  ...["application_path", "bind", "insecure_bind", "quic_bind", "umask", "user", "group", "daemon", "pid_path"],
  ...["use_reloader", "keep_alive_timeout", "graceful_timeout", "worker_class"],
]);

export const asgi = poolKind({
  name: "asgi",
  fields: {
    asgi: text(
      'A Python ASGI app, for example of FastAPI, Starlette, Quart or async Django: `"main:app"`, `"mysite.asgi:application"`, `"./main.py:app"`, `"shop:create_app(\'prod\')"`. Each instance runs it in the uvicorn or hypercorn that `python` has. Python searches for modules in `cwd`. See [asgi.md](asgi.md).',
    ),
    asgiServer: word(
      ["uvicorn", "hypercorn"],
      "The server of an `asgi` app. Default: the first that is installed for `python`.",
    ),
    asgiOptions: valueTable(
      "Options of that server by their Python names, such as `{ ws_max_size: 65536, access_log: true }` for `uvicorn.Config`, or attributes of `hypercorn.Config`. Default: those of the server, but without an access log, and with a log of only warnings and errors.",
    ),
    python,
    maxInFlight,
    requestTimeoutMs,
    sticky,
  },
  defaultInstances: 4,
  resolve(keys, context) {
    const app = readPythonApp(["asgi"], keys.asgi ?? "", "main:app", context);
    for (const name of Object.keys(keys.asgiOptions ?? {})) {
      if (NOT_OPTIONS.has(name) || name.startsWith("ssl_") || name.startsWith("reload_"))
        context.report(["asgiOptions", name], "is set by Paceline");
    }
    if (keys.requestTimeoutMs !== undefined && keys.maxInFlight === undefined)
      context.report(
        ["requestTimeoutMs"],
        "is only valid with `maxInFlight`: without it Paceline does not know which requests are running",
      );
    return {
      source: app,
      relayed: { sendsFiles: true },
      workload: { asgi: { app, server: keys.asgiServer, options: keys.asgiOptions ?? {} } },
      launch: launchPython(keys.python, context),
      ...(keys.maxInFlight !== undefined && {
        maxInFlight: keys.maxInFlight,
        requestTimeoutMs: REQUEST_TIMEOUT_MS,
      }),
    };
  },
});
