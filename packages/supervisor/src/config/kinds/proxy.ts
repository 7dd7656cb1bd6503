/** The kind `proxy`: forwards to a remote upstream. */
import { X509Certificate } from "node:crypto";
import { resolve } from "node:path";
import { readRegularFile } from "@paceline/wire";
import { anyTextOrTable, count, flag, milliseconds, table, text } from "../fields.js";
import { hedge, poolKind } from "./kind.js";

const MAX_CA_BYTES = 1 << 20;

const optionFields = {
  changeOrigin: flag(
    true,
    "Send the upstream's own name as Host. If false, the upstream gets the client's Host. X-Forwarded-Host has the client's Host in both cases.",
  ),
  secure: flag(true, "Respond 502 if the certificate of an https upstream is not valid for its name."),
  ca: text(
    "A PEM file with the certificate authorities to trust for the upstream, in place of Node's built-in ones. Relative to the config file's folder; read when an instance starts.",
  ),
  autoRewrite: flag(
    true,
    "Rewrite a Location on the upstream to a path on this server, including the prefix that `stripPrefix` removed, so that a redirect stays on the proxy.",
  ),
  cookieDomainRewrite: anyTextOrTable(
    'The new Domain of the upstream\'s cookies; `""` removes it, so that they belong to the requested host. A table maps old Domains to new ones; `"*"` matches any. Default: unchanged.',
  ),
  cookiePathRewrite: anyTextOrTable("The new Path of the upstream's cookies; see `cookieDomainRewrite`."),
  connectTimeoutMs: milliseconds(
    5_000,
    "How long connecting to the upstream, including TLS, may take; then the client gets 504. If all connections are busy, a request waits for up to the same time; then it gets 503.",
  ),
  responseTimeoutMs: milliseconds(
    55_000,
    "How long the upstream may go without sending response data. Then the client gets 504, or a reset if the response had started. Keep this below the balancer's `upstreamResponseTimeoutMs`.",
  ),
  idleTimeoutMs: milliseconds(
    4_000,
    "How long an idle connection to the upstream is kept. Set this below the upstream's own timeout.",
  ),
  tunnelIdleTimeoutMs: milliseconds(
    3_600_000,
    "How long an upgraded connection, such as a WebSocket, may be idle in both directions.",
  ),
  fileRedirects: flag(
    false,
    "Follow X-Accel-Redirect and X-Sendfile in the upstream's responses to a pool with `internal: true`. Otherwise these fields are removed.",
  ),
  maxConnections: count(256, "The maximum number of connections of an instance, not counting upgraded ones.", {
    max: 65_535,
  }),
};

export const proxy = poolKind({
  name: "proxy",
  runtime: "node",
  fields: {
    proxy: text(
      'A remote upstream instead of an app: an http or https URL, such as `"https://old.example"`. Its path is prepended to the path of each request. The instances run on Node. See [proxy.md](proxy.md).',
    ),
    proxyOptions: table(optionFields, "How to forward to the upstream."),
    hedge,
  },
  defaultInstances: 1,
  resolve(keys, { baseDir, report }) {
    const { ca, fileRedirects, ...options } = keys.proxyOptions ?? {};
    const target = keys.proxy ?? "";
    const problem = problemOf(target);
    if (problem !== undefined) report(["proxy"], problem);
    for (const key of ["secure", "ca"] as const) {
      if (keys.proxyOptions?.[key] !== undefined && target.startsWith("http:"))
        report(["proxyOptions", key], "is only valid for an https upstream: http has no certificates");
    }
    const file = ca === undefined ? undefined : resolve(baseDir, ca);
    const certificateProblem = file === undefined ? undefined : problemOfCertificates(file);
    if (certificateProblem !== undefined) report(["proxyOptions", "ca"], certificateProblem);
    return {
      source: target,
      relayed: fileRedirects === true ? { sendsFiles: true } : {},
      workload: { proxy: { target, options: { ...options, ...(file === undefined ? {} : { ca: file }) } } },
    };
  },
});

function problemOf(target: string): string | undefined {
  const shown = JSON.stringify(target);
  if (!URL.canParse(target)) return `must be a URL such as "https://old.example", not ${shown}`;
  const url = new URL(target);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    return `must be an http:// or https:// URL, not one of ${url.protocol}`;
  if (url.username !== "" || url.password !== "")
    return "must not contain a user or password: it appears in status and logs";
  if (url.search !== "" || url.hash !== "") return `must not have a query or a fragment: ${shown}`;
  if (url.port === "0") return "must not have the port 0";
  return undefined;
}

function problemOfCertificates(file: string): string | undefined {
  let pem: string;
  try {
    pem = readRegularFile(file, { maxBytes: MAX_CA_BYTES }).toString();
  } catch (error) {
    return `cannot be read: ${(error as Error).message}`;
  }
  try {
    new X509Certificate(pem);
    return undefined;
  } catch {
    return `has no certificate in PEM form: ${file}`;
  }
}
