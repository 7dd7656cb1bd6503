/**
 * The options of `paceline serve`. Its help and its parser are generated from this list, and so are the command line's completion and man
 * page.
 */
import { DEFAULT_LIMITS, type ServerLimits } from "./shared/limits.js";

export const DEFAULT_PORT = 3000;
export const DEFAULT_HOST = "127.0.0.1";
export const DEFAULT_DRAIN_TIMEOUT_MS = 30_000;

interface ServeOption {
  /** Without dashes. */
  name: string;
  /** The name of its value; undefined if it has none. */
  value?: string;
  description: string;
  /** The accepted words. */
  choices?: readonly string[];
}

/** The option for each limit, for example `max-body-bytes` for maxBodyBytes. */
export const LIMIT_OPTIONS = new Map(
  (Object.keys(DEFAULT_LIMITS) as (keyof ServerLimits)[]).map((key) => [kebab(key), key] as const),
);

export const SERVE_OPTIONS: readonly ServeOption[] = [
  { name: "static", value: "folder", description: "serve the files of this folder" },
  { name: "proxy", value: "url", description: "forward requests to this http:// or https:// upstream; only on Node" },
  { name: "listing", description: "with --static: list the files of a folder without index.html" },
  { name: "port", value: "n", description: `the TCP port, 0 for any free port (default ${DEFAULT_PORT})` },
  { name: "host", value: "address", description: `the address to listen on (default ${DEFAULT_HOST})` },
  { name: "socket", value: "path", description: "listen on a unix socket instead" },
  {
    ...{ name: "style", value: "style", choices: ["fetch", "node"] },
    description: "how to call the app, if its shape is ambiguous",
  },
  {
    ...{ name: "drain-timeout-ms", value: "n" },
    description: `the time to finish requests after SIGTERM or SIGINT (default ${DEFAULT_DRAIN_TIMEOUT_MS})`,
  },
  ...[...LIMIT_OPTIONS].map(([name, key]) => ({ name, value: "n", description: `(default ${DEFAULT_LIMITS[key]})` })),
  {
    ...{ name: "access-log", value: "format", choices: ["combined", "json"] },
    description: "write a line for each request to stdout",
  },
  { name: "access-log-file", value: "path", description: "append these lines to a file instead" },
];

/** Returns the flags as help shows them, for example `--port <n>`. */
export function flagsOf({ name, value }: ServeOption): string {
  return value === undefined ? `--${name}` : `--${name} <${value}>`;
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
