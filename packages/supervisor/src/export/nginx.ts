/** An nginx configuration for a proxy in front of several machines, for the folder conf.d. */
import { dnsName, type ExportInput, hostPort, stickyOf, tcpAddress, wholeSeconds } from "./facts.js";
import { notesFor } from "./notes.js";

/** The time limit for connecting to a machine, in seconds. */
const CONNECT_S = 2;
/** After a failure, nginx does not use a machine for this long, in seconds. */
const FAIL_S = 2;
const MARGIN_S = 5;
/** The maximum number of idle connections to all machines that each nginx worker keeps. */
const KEPT = 64;

export function nginx(input: ExportInput): string {
  const { config, bind, boxes } = input;
  const name = dnsName(config.name);
  const { limits } = config.balancer;
  const port = tcpAddress(config)?.port ?? 8080;
  const serverMs = (limits.upstreamResponseTimeoutMs ?? 0) + (limits.upstreamConnectTimeoutMs ?? 0);
  const tunnelS = wholeSeconds(limits.tunnelIdleTimeoutMs ?? 0) + MARGIN_S;
  const maxBody = limits.maxBodyBytes ?? 0;
  const sticky = stickyOf(config);
  const lines = [
    ...[
      `nginx (1.20 or later) in front of the fleet ${config.name} on several machines: paceline export nginx`,
      "A file for conf.d, within http {}; check it with nginx -t. Name the machines with --box box1=10.0.0.1 --box box2=10.0.0.2.",
      "nginx without a subscription sends no health checks: it notices a stopped or lost machine by requests that fail, and tries another machine.",
      "A POST that a machine may have read is not sent to another one. HAProxy loses less: paceline export haproxy.",
      ...notesFor("front", config),
      ...(config.agentCheck === null ? [] : ["`agentCheck` is not used: nginx has no such check."]),
      ...(sticky?.rule.by === "cookie" ? ["Sticky by address: the cookie of a machine needs a subscription."] : []),
    ].map((text) => `# ${text}`),
    `upstream ${name}_boxes {`,
    `    zone ${name}_boxes 64k;`,
    ...balance(sticky?.rule),
    ...boxes.map(
      (box) => `    server ${hostPort(box.host, box.port ?? port)} max_fails=1 fail_timeout=${FAIL_S}s; # ${box.name}`,
    ),
    `    keepalive ${KEPT};`,
    "}",
    "",
    `map $http_upgrade $${name.replaceAll("-", "_")}_connection {`,
    "    default upgrade;",
    `    "" "";`,
    "}",
    "",
    "server {",
    `    listen ${bind.startsWith(":") ? bind.slice(1) : bind};`,
    "    server_name _;",
    `    client_max_body_size ${maxBody};`,
    `    client_body_timeout ${wholeSeconds(limits.bodyTimeoutMs ?? 0)}s;`,
    `    client_header_timeout ${wholeSeconds(limits.headTimeoutMs ?? 0)}s;`,
    "",
    "    proxy_http_version 1.1;",
    "    proxy_set_header Host $http_host;",
    `    proxy_set_header Connection $${name.replaceAll("-", "_")}_connection;`,
    "    proxy_set_header Upgrade $http_upgrade;",
    "    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "    proxy_set_header X-Forwarded-Proto $scheme;",
    `    proxy_connect_timeout ${CONNECT_S}s;`,
    "    # The fleet responds 503 only to requests that have not started.",
    "    proxy_next_upstream error timeout http_503;",
    `    proxy_next_upstream_tries ${Math.max(2, boxes.length)};`,
    "",
    "    location / {",
    "        # WebSockets go to the location below. 418 stays in nginx.",
    "        error_page 418 = @upgrade;",
    `        if ($http_upgrade ~* "^websocket$") { return 418; }`,
    `        proxy_pass http://${name}_boxes;`,
    "        # Longer than the fleet's own: upstreamConnectTimeoutMs and upstreamResponseTimeoutMs.",
    `        proxy_read_timeout ${wholeSeconds(serverMs) + MARGIN_S}s;`,
    "    }",
    "",
    "    location @upgrade {",
    `        proxy_pass http://${name}_boxes;`,
    "        # Longer than the fleet's own: tunnelIdleTimeoutMs.",
    `        proxy_read_timeout ${tunnelS}s;`,
    `        proxy_send_timeout ${tunnelS}s;`,
    "    }",
    "}",
  ];
  return `${lines.join("\n")}\n`;
}

function balance(rule: { by: string; name?: string } | undefined): string[] {
  if (rule === undefined) return ["    least_conn;"];
  if (rule.by !== "header") return ["    ip_hash;"];
  return [`    hash $http_${(rule.name ?? "").replaceAll("-", "_")} consistent;`];
}
