/** A Paceline fleet with the fleets' app; a variant is a name and additions to its config. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { freePort, ofChildren, run } from "../launch.mjs";
import { APPS, PACELINE } from "../programs.mjs";

const ON_NODE = { runtime: "node", balancer: { runtime: "node" } };

/** The fleets in the benchmark. */
export const FLEET_VARIANTS = [
  { name: "paceline", runtime: "bun" },
  { name: "paceline over HTTP/1.1", runtime: "bun", config: { protocol: "http1" } },
  { name: "paceline on Node", runtime: "node", config: ON_NODE, environment: { PACELINE_RUNTIME: "node" } },
  {
    name: "paceline on Node over HTTP/1.1",
    runtime: "node",
    config: { ...ON_NODE, protocol: "http1" },
    environment: { PACELINE_RUNTIME: "node" },
  },
];

/** Starts a fleet; some instances may still be starting when it returns. */
export async function startFleet(directory, instances, { config = {}, environment, balancers = 1 } = {}) {
  const port = await freePort();
  const base = { name: "bench", app: path.join(APPS, "fetch.mjs"), instances, listen: `127.0.0.1:${port}` };
  const balancer = { processes: balancers, ...config.balancer };
  const file = path.join(directory, "paceline.config.json");
  writeFileSync(file, JSON.stringify({ ...base, ...config, balancer }));
  const args = [PACELINE, "start", file, "--run-dir", path.join(directory, "run")];
  return ofChildren(port, [run("sh", args, directory, environment)]);
}

/** Returns a contestant of the benchmark. */
export function fleetContestant(instances, variant, balancers) {
  const { name, runtime } = variant;
  return {
    name,
    isOurs: true,
    runtime,
    settings: `\`paceline start\`, balancer processes: ${balancers}, supervisor, balancer and instances on ${runtime === "node" ? "Node" : "Bun"}`,
    start: (directory) => startFleet(directory, instances, { ...variant, balancers }),
  };
}
