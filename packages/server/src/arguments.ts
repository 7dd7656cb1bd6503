/** The command line of a standalone server. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { ServerError } from "./shared/errors.js";
import { DEFAULT_LIMITS, type ServerLimits } from "./shared/limits.js";
import type { StandaloneOptions } from "./standalone.js";

const DEFAULT_PORT = 3000;
const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_DRAIN_TIMEOUT_MS = 30_000;

/** The option of each limit, such as `--max-body-bytes` for maxBodyBytes. */
const LIMIT_OPTIONS = new Map(
  (Object.keys(DEFAULT_LIMITS) as (keyof ServerLimits)[]).map((key) => [kebab(key), key] as const),
);

/** The text of `--help`. */
export const USAGE = `Usage: paceline serve APP [options] [-- ARGUMENTS]
       paceline serve --static FOLDER [options]
       paceline serve --proxy URL [options]

Serves one app, a folder of files, or a proxy for an upstream, in one process. APP is a module, .ts or .js,
whose default export is an object with fetch(request, info), a fetch function, a
Node (req, res) handler, or an app of Express, Koa, Fastify or Hono. ARGUMENTS go to the app in process.argv.

  --static FOLDER   serve the files of this folder
  --proxy URL       forward requests to this http:// or https:// upstream; only on Node
  --listing         with --static: list the files of a folder without index.html
  --port PORT       the TCP port, 0 for any free port (default ${DEFAULT_PORT})
  --host HOST       the address to listen on (default ${DEFAULT_HOST})
  --socket PATH     listen on a unix socket instead
  --style STYLE     fetch or node: how to call the app, if its shape is ambiguous
  --drain-timeout-ms N        the time to finish requests after SIGTERM or SIGINT (default ${DEFAULT_DRAIN_TIMEOUT_MS})
${[...LIMIT_OPTIONS].map(([option, key]) => `  --${`${option} N`.padEnd(25)} (default ${DEFAULT_LIMITS[key]})`).join("\n")}
  --access-log combined|json  a line for each request, to stdout
  --access-log-file PATH      append these lines to a file instead
  --help            print this
`;

/** Returns the options of a command line, or `help`. @throws ServerError `usage` */
export function parseArguments(args: string[]): StandaloneOptions | "help" {
  const end = args.indexOf("--");
  const ofApp = end < 0 ? [] : args.slice(end + 1);
  const { values, positionals } = parse(end < 0 ? args : args.slice(0, end));
  if (values.help) return "help";
  const [app, ...more] = positionals;
  const folder = values.static as string | undefined;
  const upstream = values.proxy as string | undefined;
  const given = [app, folder, upstream].filter((each) => each !== undefined);
  if (given.length === 0) throw usage("name the app to serve, such as ./app.ts, or give --static or --proxy");
  if (given.length > 1) throw usage(`give only one of an app, --static and --proxy: unexpected ${given[0]}`);
  if (folder === undefined && values.listing) throw usage("--listing needs --static");
  if (app !== undefined && IS_PYTHON.test(app)) throw usage(hintOnPython(app));
  if (more.length > 0) throw usage(`one app at a time: unexpected ${more.join(" ")}`);
  const text = (name: string) => values[name] as string | undefined;
  const number = (name: string, max = Number.MAX_SAFE_INTEGER) => {
    const value = text(name);
    return value === undefined ? undefined : wholeNumber(name, value, max);
  };
  const limits: Partial<ServerLimits> = {};
  for (const [option, key] of LIMIT_OPTIONS) {
    const value = number(option);
    if (value !== undefined) limits[key] = value;
  }
  const path = text("socket");
  if (path !== undefined && (text("port") !== undefined || text("host") !== undefined)) {
    throw usage("--socket excludes --port and --host");
  }
  const address: StandaloneOptions["address"] =
    path === undefined
      ? { kind: "tcp", host: text("host") ?? DEFAULT_HOST, port: number("port", 65_535) ?? DEFAULT_PORT }
      : { kind: "unix", path };
  const style = text("style");
  if (style !== undefined && style !== "fetch" && style !== "node")
    throw usage(`--style is fetch or node, not ${style}`);
  if (style !== undefined && app === undefined) throw usage("--style is for an app");
  if (ofApp.length > 0 && app === undefined) throw usage("arguments after -- are only for an app");
  return {
    workload: workloadOf({ app, args: ofApp, style, folder, upstream, listing: values.listing === true }),
    address,
    limits,
    drainTimeoutMs: number("drain-timeout-ms") ?? DEFAULT_DRAIN_TIMEOUT_MS,
    accessLog: accessLog(text("access-log"), text("access-log-file")),
  };
}

/** A file, or a module and its callable. */
const IS_PYTHON = /\.(py|wsgi)$|^[\w./-]+:[A-Za-z_]\w*(\(.*\))?$/;

function hintOnPython(app: string): string {
  const callable = app.includes(":") ? app : `${app}:NAME`;
  const script = app.endsWith(".py") ? ` or --fapws ${app}` : "";
  return `${app} is Python, which runs in a fleet: paceline start --wsgi ${callable} (Flask, Django), --asgi ${callable} (FastAPI, Starlette)${script}`;
}

interface Named {
  app: string | undefined;
  args: string[];
  style: "fetch" | "node" | undefined;
  folder: string | undefined;
  upstream: string | undefined;
  listing: boolean;
}

/** Returns the one of the three that was given. */
function workloadOf({ app, args, style, folder, upstream, listing }: Named): StandaloneOptions["workload"] {
  if (folder !== undefined) return { static: { root: resolve(folder), options: { listing } } };
  if (upstream !== undefined) return { proxy: { target: upstream, options: {} } };
  return { app: resolve(app as string), args, ...(style === undefined ? {} : { style }) };
}

function parse(args: string[]) {
  const string = { type: "string" } as const;
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h" },
        static: string,
        proxy: string,
        listing: { type: "boolean" },
        port: string,
        host: string,
        socket: string,
        style: string,
        "drain-timeout-ms": string,
        "access-log": string,
        "access-log-file": string,
        ...Object.fromEntries([...LIMIT_OPTIONS.keys()].map((option) => [option, string])),
      } as Record<string, { type: "string" | "boolean"; short?: string }>,
    });
  } catch (cause) {
    // The second sentence explains how to pass a file whose name begins with a dash.
    throw usage((cause as Error).message.split(". ")[0] as string, cause);
  }
}

function accessLog(format: string | undefined, file: string | undefined): StandaloneOptions["accessLog"] {
  if (format === undefined && file === undefined) return undefined;
  if (format !== "combined" && format !== "json") throw usage("--access-log takes combined or json");
  return file === undefined ? { format } : { format, file };
}

function wholeNumber(option: string, value: string, max: number): number {
  if (!/^\d{1,16}$/.test(value) || Number(value) > max) throw usage(`--${option} is not a whole number: ${value}`);
  return Number(value);
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function usage(message: string, cause?: unknown): ServerError {
  return new ServerError("usage", message, { cause });
}
