/** The command line of a standalone server. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import {
  DEFAULT_DRAIN_TIMEOUT_MS,
  DEFAULT_HOST,
  DEFAULT_PORT,
  flagsOf,
  LIMIT_OPTIONS,
  SERVE_OPTIONS,
} from "./options.js";
import { ServerError } from "./shared/errors.js";
import type { ServerLimits } from "./shared/limits.js";
import type { StandaloneOptions } from "./standalone.js";

/** The text of `--help`. */
export const USAGE = `Usage: paceline serve APP [options] [-- ARGUMENTS]
       paceline serve --static FOLDER [options]
       paceline serve --proxy URL [options]

Serves one app, a folder of files, or a proxy for an upstream, in one process. APP is a module, .ts or .js,
whose default export is an object with fetch(request, info), a fetch function, a
Node (req, res) handler, or an app of Express, Koa, Fastify or Hono. ARGUMENTS go to the app in process.argv.

${SERVE_OPTIONS.map(lineOf).join("\n")}
  --help                      print this
`;

function lineOf(option: (typeof SERVE_OPTIONS)[number]): string {
  const choices = option.choices === undefined ? "" : `${option.choices.join(" or ")}: `;
  return `  ${flagsOf(option).padEnd(27)} ${choices}${option.description}`;
}

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
  if (given.length === 0) throw usage("name the app to serve, such as ./app.ts, or use --static or --proxy");
  if (given.length > 1) throw usage(`use only one of an app, --static and --proxy: unexpected ${given[0]}`);
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

/** Returns the workload of the only option of these three that was given. */
function workloadOf({ app, args, style, folder, upstream, listing }: Named): StandaloneOptions["workload"] {
  if (folder !== undefined) return { static: { root: resolve(folder), options: { listing } } };
  if (upstream !== undefined) return { proxy: { target: upstream, options: {} } };
  return { app: resolve(app as string), args, ...(style === undefined ? {} : { style }) };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h" },
        ...Object.fromEntries(
          SERVE_OPTIONS.map(({ name, value }) => [name, { type: value === undefined ? "boolean" : "string" }]),
        ),
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
  if (!/^\d{1,16}$/.test(value)) throw usage(`--${option} is not a whole number: ${value}`);
  if (Number(value) > max) throw usage(`--${option} must be from 0 to ${max}, not ${value}`);
  return Number(value);
}

function usage(message: string, cause?: unknown): ServerError {
  return new ServerError("usage", message, { cause });
}
