/** The keys for proxies and orchestrators in front of the fleet, and the errors for invalid values. */
import { expect, it } from "vitest";
import { resolveAdmin, resolveAgentCheck, resolveProbes } from "./fronts.js";
import { parseListenAddress } from "./listen-address.js";
import { formatKeyPath } from "./problems.js";
import { validate } from "./validate.js";

const LISTEN = [parseListenAddress(":8080", "/"), parseListenAddress("unix:/run/shop.sock", "/")].flatMap((each) =>
  "problem" in each ? [] : [each],
);

function resolve(given: unknown) {
  const { input, findings } = validate(given);
  const problems = findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`);
  const report = (at: string[]) => (path: string[], message: string) =>
    problems.push(`${formatKeyPath([...at, ...path])}: ${message}`);
  const probes = resolveProbes(input.balancer?.probes, report(["balancer", "probes"]));
  const agentCheck = resolveAgentCheck(input.agentCheck, LISTEN, report(["agentCheck"]));
  const admin = resolveAdmin(input.admin, null, LISTEN, report(["admin", "listen"]));
  return { probes, agentCheck, admin, problems };
}

it.each([
  [undefined, null],
  [false, null],
  [{}, null],
  [true, { live: "/-/live", ready: "/-/ready" }],
  [{ ready: "/healthz" }, { ready: "/healthz" }],
  [
    { live: "/a", ready: "/b" },
    { live: "/a", ready: "/b" },
  ],
])("probes: %j", (probes, paths) => {
  expect(resolve({ balancer: { probes } })).toMatchObject({ probes: paths, problems: [] });
});

it.each([
  [undefined, null],
  ["10.0.0.5:9999", { host: "10.0.0.5", port: 9999 }],
  [":9999", { host: "0.0.0.0", port: 9999 }],
  ["[::1]:9999", { host: "::1", port: 9999 }],
])("agentCheck: %j", (agentCheck, address) => {
  expect(resolve({ agentCheck })).toMatchObject({ agentCheck: address, problems: [] });
});

it.each([
  [undefined, null],
  [{}, { listen: null, tokenFile: null, mayWrite: false }],
  [{ write: true }, { listen: null, tokenFile: null, mayWrite: true }],
  [{ listen: "9090" }, { listen: { host: "127.0.0.1", port: 9090 }, tokenFile: null, mayWrite: false }],
  [{ listen: "127.1.2.3:9090" }, { listen: { host: "127.1.2.3", port: 9090 } }],
  [{ listen: "[::1]:9090" }, { listen: { host: "::1", port: 9090 } }],
])("admin: %j", (admin, address) => {
  expect(resolve({ admin })).toMatchObject({ admin: address, problems: [] });
});

it.each([
  [
    { balancer: { probes: "/up" } },
    'balancer.probes: must be true, false, or a table with `live` and `ready`, not "/up"',
  ],
  [{ balancer: { probes: { redy: "/up" } } }, 'balancer.probes.redy: unknown key; did you mean "ready"?'],
  [
    { balancer: { probes: { ready: "up" } } },
    'balancer.probes.ready: must be a path that begins with /, without spaces, ? and #, not "up"',
  ],
  [
    { balancer: { probes: { live: "/up?x" } } },
    'balancer.probes.live: must be a path that begins with /, without spaces, ? and #, not "/up?x"',
  ],
  [{ balancer: { probes: { live: "/up", ready: "/up" } } }, "balancer.probes.ready: must differ from `live`"],
  [
    { balancer: { preDrainMs: -1 } },
    "balancer.preDrainMs: must be a whole number of milliseconds from 0 to 600000, not -1",
  ],
  [{ agentCheck: 9999 }, 'agentCheck: must be text, not 9999; write "127.0.0.1:9999"'],
  [{ admin: { listen: 9090 } }, 'admin.listen: must be text, not 9090; write "127.0.0.1:9090"'],
  [{ agentCheck: "box:9999" }, 'agentCheck: the host must be an IP address or localhost, not "box"'],
  [{ agentCheck: "unix:/a" }, 'agentCheck: must be "HOST:PORT", not "unix:/a": HAProxy\'s agent-check uses TCP'],
  [{ agentCheck: "0.0.0.0:8080" }, "agentCheck: is one of the addresses in `listen`"],
  [
    { admin: { listen: ":9090" } },
    'admin.listen: must be a loopback address such as "127.0.0.1:9090": it speaks without encryption',
  ],
  [
    { admin: { listen: "unix:/a" } },
    'admin.listen: must be "HOST:PORT", not "unix:/a": the control socket has the page and the metrics, too',
  ],
  [{ admin: { port: 9090 } }, "admin.port: unknown key; known keys: listen, token, write"],
  [{ admin: { token: "secret" } }, 'admin.token: must be { file: "path" } or { credential: "name" }, not text'],
  [{ admin: { token: { file: "" } } }, "admin.token.file: must not be empty"],
])("%j is invalid", (given, problem) => {
  expect(resolve(given).problems).toEqual([problem]);
});
