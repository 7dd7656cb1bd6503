/** An HAProxy configuration for a proxy in front of several machines. */
import { IDEMPOTENT_METHODS } from "@paceline/wire";
import {
  type Box,
  dnsName,
  type ExportInput,
  hostPort,
  NOTICE_MS,
  stickyOf,
  tcpAddress,
  wholeSeconds,
} from "./facts.js";
import { notesFor } from "./notes.js";

/** The time limit for connecting to a machine, in seconds. */
const CONNECT_S = 2;
/**
 * How much later the deadlines of the proxy are than those of the fleet, in seconds, so that clients get the fleet's responses, which
 * explain what happened.
 */
const MARGIN_S = 5;
/** How long a machine may acknowledge nothing, in seconds. */
const SILENT_S = 3;
/** HAProxy's largest weight is 256. */
const WEIGHT = 100;

export function haproxy(input: ExportInput): string {
  const { config, bind } = input;
  const name = dnsName(config.name);
  const { limits } = config.balancer;
  const seconds = (limit: string) => `${wholeSeconds(limits[limit] ?? 0)}s`;
  const serverMs = (limits.upstreamResponseTimeoutMs ?? 0) + (limits.upstreamConnectTimeoutMs ?? 0);
  const sticky = stickyOf(config);
  const lines = [
    ...comments([
      `HAProxy (2.4 or later) in front of the fleet ${config.name} on several machines: paceline export haproxy`,
      `Check it with haproxy -c -f FILE. Name the machines with --box box1=10.0.0.1 --box box2=10.0.0.2.`,
      ...notesFor("front", config),
      ...(config.agentCheck === null
        ? [
            "`agentCheck` is not set: with it, the weight of a machine follows its load, and a stop is noticed within a second.",
          ]
        : []),
    ]),
    "global",
    "    # No maxconn: it follows from the limit of open files (LimitNOFILE).",
    "    log stdout format raw local0 notice",
    "",
    "defaults",
    "    mode http",
    "    log global",
    "    option dontlognull",
    "    option forwardfor",
    `    timeout connect ${CONNECT_S}s`,
    `    timeout client ${seconds("bodyTimeoutMs")}`,
    `    timeout http-request ${seconds("headTimeoutMs")}`,
    `    timeout http-keep-alive ${seconds("keepAliveTimeoutMs")}`,
    `    # Longer than the fleet's own: upstreamConnectTimeoutMs and upstreamResponseTimeoutMs.`,
    `    timeout server ${wholeSeconds(serverMs) + MARGIN_S}s`,
    `    timeout tunnel ${seconds("tunnelIdleTimeoutMs")}`,
    "    timeout queue 5s",
    "    timeout check 1s",
    "",
    `frontend ${name}`,
    `    bind ${quoted(bind)}`,
    "    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]",
    `    default_backend ${name}-boxes`,
    "",
    `backend ${name}-boxes`,
    `    balance ${balanceOf(sticky?.rule, config.agentCheck !== null)}`,
    ...(sticky?.rule.by === "cookie" ? ["    cookie PACELINE_BOX insert indirect nocache httponly"] : []),
    ...checks(input),
    "    # A machine that does not respond any more, as after a power failure, is abandoned after this time, with its requests.",
    "    option srvtcpka",
    `    srvtcpka-idle ${SILENT_S}s`,
    "    srvtcpka-intvl 1s",
    "    srvtcpka-cnt 3",
    "    # Another machine gets any request that no machine has read, and an idempotent request without a response.",
    "    retries 3",
    "    option redispatch 1",
    "    retry-on conn-failure empty-response 503",
    `    http-request disable-l7-retry unless { method ${[...IDEMPOTENT_METHODS].join(" ")} }`,
    `    default-server check inter 1s fastinter 500ms fall 2 rise 2 weight ${WEIGHT}`,
    ...input.boxes.map((box) => server(input, box)),
  ];
  return `${lines.join("\n")}\n`;
}

function comments(texts: readonly string[]): string[] {
  return texts.map((text) => `# ${text}`);
}

/** Weights that follow the load need a balancing method without feedback of its own. */
function balanceOf(rule: { by: string; name?: string } | undefined, hasWeights: boolean): string {
  if (rule?.by === "address") return "source";
  if (rule?.by === "header") return quoted(`hdr(${rule.name ?? ""})`);
  return hasWeights ? "roundrobin" : "leastconn";
}

function checks({ config }: ExportInput): string[] {
  const { probes, preDrainMs } = config.balancer;
  if (probes?.ready === undefined) return ["    # A machine is up while its port accepts connections."];
  return [
    ...(preDrainMs >= NOTICE_MS
      ? [`    # A stop: not ready for ${preDrainMs} ms, then the sockets close. Two checks notice it before.`]
      : []),
    "    option httpchk",
    `    http-check send meth GET uri ${quoted(probes.ready)} ver HTTP/1.1 hdr Host ${dnsName(config.name)}`,
    "    http-check expect status 200",
  ];
}

function server({ config }: ExportInput, { name, host, port }: Box): string {
  const { agentCheck } = config;
  const address = hostPort(host, port ?? tcpAddress(config)?.port ?? 8080);
  // In default-server, HAProxy 2.6 accepts tcp-ut and does nothing with it.
  const words = ["    server", quoted(name), quoted(address), `tcp-ut ${SILENT_S}s`];
  if (stickyOf(config)?.rule.by === "cookie") words.push(`cookie ${quoted(name)}`);
  if (agentCheck !== null) words.push(`agent-check agent-port ${agentCheck.port} agent-inter 1s`);
  return words.join(" ");
}

/** Returns text as one word of the configuration, in which quotes, backslashes, `#` and, within double quotes, `$` have a meaning. */
function quoted(text: string): string {
  if (/^[\w/.:,;@%+=~()[\]*!&|?-]*$/.test(text)) return text;
  return `'${text.replaceAll("'", "'\\''")}'`;
}
