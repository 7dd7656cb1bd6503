/** The keys of modes: which pools may have them, and which processes listen where. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { canShareAddresses } from "../core/serving.js";
import { formatListenAddress } from "./listen-address.js";
import { formatKeyPath } from "./problems.js";
import { resolveFleet } from "./resolve.js";
import type { Finding } from "./validate.js";
import { validate } from "./validate.js";

const folder = mkdtempSync(join(tmpdir(), "paceline-mode-"));
writeFileSync(join(folder, "app.js"), "");
writeFileSync(join(folder, "db"), "", { mode: 0o755 });
afterAll(() => rmSync(folder, { recursive: true }));

function read(raw: unknown, preferred: "bun" | "node" = "bun") {
  const { input, findings: first } = validate(raw);
  const findings: Finding[] = [...first];
  const runtimes = { bun: "/bin/bun", node: "/bin/node", preferred };
  const config = resolveFleet(input, { baseDir: folder, listenDir: folder, defaultName: "shop", runtimes, findings });
  return { config, problems: findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`) };
}

const db = { command: ["./db"], mode: "tcp" };
const web = { app: "app.js" };

test.each<[raw: object, addresses: string[], pools: (string | undefined)[]]>([
  [db, ["tcp://127.0.0.1:8080"], ["web"]],
  [{ ...db, listen: ["6379", "unix:/run/a.sock"] }, ["tcp://127.0.0.1:6379", "unix:/run/a.sock"], ["web", "web"]],
  [{ ...db, bind: "[::1]:6379" }, ["tcp://[::1]:6379"], ["web"]],
  [
    { pools: { web, db: { ...db, bind: "6379" } } },
    ["http://127.0.0.1:8080", "tcp://127.0.0.1:6379"],
    [undefined, "db"],
  ],
  [
    { listen: "80", pools: { web, jobs: { worker: "app.js" }, db: { ...db, bind: ["1", "2"] } } },
    ["http://127.0.0.1:80", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"],
    [undefined, "db", "db"],
  ],
  [
    { pools: { a: { ...db, bind: "1" }, b: { ...db, bind: "2" } } },
    ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"],
    ["a", "b"],
  ],
])("%j listens on %j", (raw, addresses, pools) => {
  const { config, problems } = read(raw);
  expect(problems).toEqual([]);
  expect(config.listen.map(formatListenAddress)).toEqual(addresses);
  expect(config.listen.map(({ pool }) => pool)).toEqual(pools);
});

test("a pool in tcp mode has no routes, and balancers know its mode", () => {
  const [pool] = read({ ...db, sticky: "address", sendProxyProtocol: "v2", healthIntervalMs: 500 }).config.pools;
  expect(pool).toMatchObject({
    mode: "tcp",
    routes: [],
    relayed: { mode: "tcp", sticky: { by: "address" } },
    workload: { command: { sendProxy: "v2" } },
    health: { healthConnects: true, healthIntervalMs: 500, healthFall: 2 },
  });
  const [plain] = read({ command: ["./db"], healthPath: "/up" }).config.pools;
  expect(plain).not.toHaveProperty("mode");
  expect(plain?.health).not.toHaveProperty("healthConnects");
});

test("a pool in direct mode has its addresses, HTTP/1.1 and no balancer", () => {
  const alone = read({ ...web, mode: "direct", listen: ["80", "[::1]:80"] });
  expect(alone.problems).toEqual([]);
  expect(alone.config).toMatchObject({ listen: [], balancer: { processes: 0 } });
  const [pool] = alone.config.pools;
  expect(pool).toMatchObject({ mode: "direct", protocol: "http1", routes: [] });
  expect(pool?.bind).toEqual([
    { kind: "tcp", host: "127.0.0.1", port: 80 },
    { kind: "tcp", host: "::1", port: 80 },
  ]);
  const { config, problems } = read({ pools: { web, fast: { ...web, mode: "direct", bind: "1" } } });
  expect(problems).toEqual([]);
  expect(config).toMatchObject({ listen: [{ port: 8080 }], balancer: { processes: 1 } });
});

test.runIf(!canShareAddresses(process.versions))(
  "direct mode is rejected on a runtime that cannot share addresses",
  () => {
    expect(read({ ...web, mode: "direct" }, "node").problems).toEqual([
      `mode: "direct" needs Bun, or Node from 22.12 on; this is Node ${process.versions.node}`,
    ]);
  },
);

const direct = { ...web, mode: "direct" };
const UNSEEN = 'is not valid with `mode: "direct"`, where no balancer sees the requests';
const WITHOUT_BALANCER = "has no effect: no pool gets its requests from a balancer";
const UNREAD = 'is not valid with `mode: "tcp"`, which passes on connections and reads no requests';

test.each([
  [
    { ...web, mode: "tcp" },
    'mode: "tcp" is only valid in `command` pools: instances of `app` pools rely on the balancer to check requests',
  ],
  [
    { ...web, bind: "1" },
    'bind: is only valid with `mode: "tcp"` or `"direct"`; requests come from the addresses in `listen`',
  ],
  [{ ...db, mode: "udp" }, 'mode: must be "http" or "tcp" or "direct", not "udp"'],
  [{ ...db, routes: "/" }, `routes: ${UNREAD}`],
  [{ ...db, healthPath: "/up" }, `healthPath: ${UNREAD}`],
  [{ ...db, healthFall: 1 }, "healthFall: is only valid with `healthIntervalMs`"],
  [{ ...db, errorPages: { 503: "app.js" } }, `errorPages: ${UNREAD}`],
  [{ ...db, sticky: "cookie" }, 'sticky: must be "address" with `mode: "tcp"`: nothing else is known of a client'],
  [
    { ...db, policy: "hash:path" },
    'policy: can only hash the address with `mode: "tcp"`: nothing else is known of a client',
  ],
  [{ ...db, bind: "1", listen: "2" }, "listen: is not valid here: each pool has addresses of its own in `bind`"],
  [{ ...db, bind: "a:1" }, 'bind[0]: the host must be an IP address or localhost, not "a"'],
  [{ ...db, sendProxyProtocol: "v3" }, 'sendProxyProtocol: must be "v1" or "v2", not "v3"'],
  [{ ...web, sendProxyProtocol: "v1" }, "sendProxyProtocol: is only valid in `command` pools"],
  [{ ...direct, routes: "/" }, `routes: ${UNSEEN}`],
  [{ ...direct, sticky: "cookie" }, `sticky: ${UNSEEN}`],
  [{ ...direct, balancer: { processes: 2, accessLog: true } }, `balancer.accessLog: ${WITHOUT_BALANCER}`],
  [
    { ...direct, balancer: { probes: false, limits: { maxBodyBytes: 1, upstreamResponseTimeoutMs: 9000 } } },
    `balancer.limits.maxBodyBytes: ${WITHOUT_BALANCER}`,
  ],
  [
    { ...direct, instances: { min: 1, max: 2, target: { inFlight: 5 } } },
    'instances: must be a number with `mode: "direct"`: the load is not known without a balancer',
  ],
  [
    { ...direct, bind: "unix:/a" },
    'bind: cannot be a unix socket with `mode: "direct"`: instances can only share TCP addresses',
  ],
  [{ pools: { web, db } }, "pools.db.bind: is missing: `listen` is for the other pools"],
  [
    { pools: { web, db: { ...db, bind: "127.0.0.1:8080" } } },
    'pools.db.bind[0]: "127.0.0.1:8080" is the same address as "127.0.0.1:8080"',
  ],
  [{ mode: "tcp", pools: { web } }, "mode: must be in one of the `pools`, not at the top level"],
])("%j is invalid", (raw, problem) => {
  expect(read(raw).problems.find((each) => each.startsWith(problem.split(":")[0] as string))).toBe(problem);
});
