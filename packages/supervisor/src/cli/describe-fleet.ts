/** Describes a fleet in one line. */
import { isAbsolute, relative } from "node:path";
import { formatListenAddress } from "../config/listen-address.js";
import { visibleLine } from "../control-characters.js";
import type { FleetConfig } from "../core/model.js";

/** Returns a line such as `shop: 4 instances of examples/hello/app.ts on http://127.0.0.1:8080`. */
export function describeFleet(config: FleetConfig, cwd: string): string {
  return visibleLine(description(config, cwd));
}

function description(config: FleetConfig, cwd: string): string {
  const addresses = config.listen.map(formatListenAddress).join(", ");
  const [only] = config.pools;
  if (config.pools.length === 1 && only !== undefined) {
    return `${config.name}: ${instances(only.instances)} of ${shown(only.source, cwd)} on ${addresses}`;
  }
  const pools = config.pools.map((pool) => `${pool.name} ${pool.instances}`).join(", ");
  const total = config.pools.reduce((sum, pool) => sum + pool.instances, 0);
  return `${config.name}: ${instances(total)} in ${config.pools.length} pools (${pools}) on ${addresses}`;
}

/** A command line or a URL is not a path and is shown unchanged. */
function shown(source: string, cwd: string): string {
  if (!isAbsolute(source)) return source;
  const path = relative(cwd, source) || ".";
  return path.startsWith("..") ? source : path;
}

function instances(count: number): string {
  return count === 1 ? "1 instance" : `${count} instances`;
}
