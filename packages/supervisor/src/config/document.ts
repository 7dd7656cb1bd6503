/** Writes docs/configuration.md from the schema, so that it cannot tell anything else than what is checked. */
import type { z } from "zod";
import { describeField } from "./fields.js";
import { APP_FILE_NAMES, CONFIG_FILE_NAMES } from "./find.js";
import { KIND_NAMES } from "./kinds/index.js";
import {
  balancerFields,
  commonPoolFields,
  DEFAULT_POOL,
  fleetFields,
  logFields,
  policyFields,
  poolFields,
} from "./schema.js";

type Fields = Record<string, z.ZodType>;

const quote = (names: string[]) => names.map((name) => `\`${name}\``).join(", ");

const INTRODUCTION = `# Configuration

<!-- Made from the schema by scripts/make-configuration-doc.mjs; change packages/supervisor/src/config/schema.ts instead. -->

A fleet needs no configuration: \`paceline start ./app.ts --instances 8 --listen 127.0.0.1:9000\` runs an app as it is. With
more to say, put a config file beside the app. These are looked for, in this order:
${quote(CONFIG_FILE_NAMES)}.
A folder without one runs its app, the first of
${quote(APP_FILE_NAMES)}.

\`\`\`ts
// paceline.config.ts
import { defineConfig } from "paceline";

export default defineConfig({
  name: "shop",
  listen: ["127.0.0.1:8080", "unix:/run/shop.sock"],
  pools: {
    web: { app: "./web/app.ts", instances: 4, env: { LOG_LEVEL: "info" } },
    api: { app: "./api/app.ts", instances: "cpus", routes: ["/api/"], envFiles: ".env" },
    files: { static: "./public", routes: ["/static/"] },
  },
});
\`\`\`

\`\`\`toml
# paceline.toml: the keys of one pool may stand at the top
app = "./app.ts"
instances = 8
listen = "127.0.0.1:9000"

[balancer.limits]
maxBodyBytes = 1048576
\`\`\`

- A module exports an object, or a function (which may be async) that returns one. It is run in a process of its own at each
  start and reload, and has 20 s.
- Keys carry their unit: \`Ms\` is milliseconds, \`Bytes\` is bytes. Unknown keys are errors.
- Paths are taken from the config file's folder; without a config file, from the working directory.
- \`paceline check\` tells every problem at once, with file, line (in JSON) and key, and exits 2 if there is any.
- \`paceline start\` takes \`--instances\` (of the only pool), \`--listen\` and \`--runtime\` over what the config says; a later reload
  still follows them.
- The environment of an instance is the caller's, then \`envFiles\`, then \`env\`, the top level's before the pool's own; what
  Paceline sets (\`PACELINE_…\`) comes last. A reload reads config and env files afresh, and the caller's
  environment with \`paceline reload --update-env\` only.
`;

const ROUTES = `## Routes

A route is a path prefix, with an optional host before it: \`"/"\`, \`"/api/"\`, \`"example.com/"\`, \`"*.example.com/shop/"\`,
\`"[::1]/"\`. Each request goes to the pool of the route that fits best; two pools cannot have the same one.

- A prefix matches on segment boundaries: \`/hello\` and \`/hello/\` both match \`/hello\`, \`/hello/\` and \`/hello/x\`, not
  \`/helloworld\`. Case counts in paths, not in hosts.
- The host is that of the target, else of the Host field, without port and last dot. An exact one goes before \`*.\`, which
  stands for one label and more, and that before none; among those that fit, the longest prefix wins. \`OPTIONS *\` goes where
  \`/\` of that host goes.
- Where nothing fits, the balancer answers 404.

Paths are matched in their normal form ([RFC 3986 §6.2.2](https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2)), in which \`%61\` is \`a\`
and several slashes at the beginning are one. An app gets the path as it was sent, byte for byte, so that it can check signatures; only
dot segments are taken out (\`/x/../api/%61\` arrives as \`/api/%61\`), and several slashes at the beginning become one where an app
that reads them as a host, or as empty segments, would see a path of another pool. Bytes outside ASCII in a path or a query arrive
percent-encoded, as browsers send them (\`/é\` as \`/%C3%A9\`). Refused with 400:

- a path that leaves its root, such as \`/../etc\`; \`%00\`; a \`%\` without two hexadecimal digits; a bare backslash; a
  host that a URL would have as another, such as \`%61\` or \`0x7f.1\`;
- an escaped slash (\`%2F\`, or \`%5C\`) that is ambiguous: read as a slash it would lead to another pool, take another prefix
  off, or bring a segment \`.\` or \`..\` to light. So \`/@scope%2Fname\` passes, and \`/api%2Fusers\` does not where there is a
  route \`/api/\`.

With \`stripPrefix\` the instances see the path without the prefix of the route that matched, always with one slash at the
beginning: \`/docs/a?b\` as \`/a?b\`, \`/docs\` as \`/\`. The field X-Forwarded-Prefix has what was taken off (\`/docs\`), for the
links and redirects that an app makes; from an address in \`trustedProxies\`, behind the prefix that it sent. That field
reaches an app from nobody else.
`;

/** The whole page. */
export function configurationDocument(): string {
  const policy = Object.keys({ ...policyFields, maxOutputBytes: true });
  const sections = [
    section(
      "The top level",
      "Beside these, every key of a pool; with `pools`, those that [hold for each pool](#a-pool).",
      without(fleetFields, Object.keys(poolFields)),
      false,
    ),
    section(
      "A pool",
      `In \`pools.NAME\`, or without \`pools\` at the top level: that is the pool \`${DEFAULT_POOL}\`. A pool has
exactly one of ${quote(KIND_NAMES)}, which says what its instances run; that is its kind, as \`paceline status\` shows it.

At the top level beside \`pools\`, these hold for each pool that does not say otherwise: ${quote(Object.keys(commonPoolFields))}.
Of these the tables, such as \`env\`, are merged key by key, and \`envFiles\` of the top level come before the pool's own.
The other keys of this section are refused there: they belong into the pools.`,
      poolFields,
    ),
    section(
      "The balancer",
      `In \`balancer\`. Beside these, ${quote(policy)}, which mean what they mean for a pool.`,
      without(balancerFields, policy),
    ),
    section("The log", "In `log`. What is in it, and who reads it: [operations.md](operations.md#logs).", logFields),
  ];
  return [INTRODUCTION, ...sections, ROUTES].join("\n");
}

function without(fields: Fields, keys: string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([key]) => !keys.includes(key)));
}

/** With `deep`, the keys of the tables in it too. */
function section(title: string, introduction: string, fields: Fields, deep = true): string {
  const head = "| key | type | default | meaning |\n|---|---|---|---|";
  return `## ${title}\n\n${introduction}\n\n${head}\n${rows(fields, "", deep).join("\n")}\n`;
}

function rows(fields: Fields, prefix: string, deep: boolean): string[] {
  return Object.entries(fields).flatMap(([key, field]) => {
    const { type, unit, default: byDefault, description } = describeField(field);
    const shape = shapeOf(field);
    const shownType = unit === undefined ? type : `${type}, ${unit}`;
    const shownDefault = byDefault === undefined ? "" : `\`${formatDefault(byDefault, unit)}\``;
    const cells = [`\`${prefix}${key}\``, shownType, shownDefault, description].map((cell) =>
      cell.replaceAll("|", "\\|"),
    );
    return [`| ${cells.join(" | ")} |`, ...(deep && shape !== undefined ? rows(shape, `${prefix}${key}.`, deep) : [])];
  });
}

function formatDefault(value: unknown, unit: string | undefined): string {
  if (unit === "bytes" && typeof value === "number") {
    if (value >= 1 << 20 && value % (1 << 20) === 0) return `${value} (${value / (1 << 20)} MiB)`;
    if (value >= 1024 && value % 1024 === 0) return `${value} (${value / 1024} KiB)`;
  }
  return JSON.stringify(value);
}

function shapeOf(field: z.ZodType): Fields | undefined {
  return (field as { unwrap?: () => { shape?: Fields } }).unwrap?.().shape;
}
