/** What a rehearsal leaves out of a configuration. */
import { expect, test } from "vitest";
import type { FleetConfig } from "../core/model.js";
import { rehearsedConfig } from "./compose.js";

test("nothing but the app has effects outside: no workers, hooks and agent-check, no files elsewhere", () => {
  const config = {
    ...{
      name: "shop",
      agentCheck: { host: "127.0.0.1", port: 9 },
      admin: { listen: { host: "127.0.0.1", port: 8 }, tokenFile: null, mayWrite: false },
      hooks: { before: {} },
    },
    ...{ restartSupervisor: true, orphanGraceMs: 60_000 },
    balancer: { processes: 2, spoolDir: "/srv/spool", accessLog: true },
    pools: [
      { name: "web", serves: true },
      { name: "queue", serves: false },
    ],
  } as unknown as FleetConfig;
  expect(rehearsedConfig(config)).toEqual({
    ...{ name: "shop", agentCheck: null, admin: null, restartSupervisor: false, orphanGraceMs: 20_000 },
    balancer: { processes: 2, spoolDir: null, accessLog: false },
    pools: [{ name: "web", serves: true }],
  });
});
