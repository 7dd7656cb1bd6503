/** The first steps of a start: its sockets, its monitoring, its pools. */
import { join } from "node:path";
import type { OperationResult } from "./control/api.js";
import type { Fleet } from "./core/fleet.js";
import { addPool, resize } from "./core/fleet-changes.js";
import { firstSizeOf } from "./operations/autoscaling.js";
import { allReadySince, readyCount } from "./operations/fleet-questions.js";
import type { Watch } from "./operations/watch/watch.js";
import { BALANCER_POOL } from "./processes/live-process.js";
import { addressesOf, hasBalancer } from "./run-dir/run-dir.js";
import { bindAll } from "./sockets/listening-sockets.js";
import type { CertificateOptions, PartsOptions, SocketOptions } from "./supervisor-options.js";
import type { FleetParts } from "./wiring.js";

/**
 * Binds the addresses and opens the control channel. Returns false if the fleet was stopped in the meantime.
 * @throws PacelineError with the system's code if an address cannot be bound
 */
export async function openSockets(parts: FleetParts, options: SocketOptions): Promise<boolean> {
  const listen = addressesOf(parts.configs.fleet, options.adoption);
  const mayBeHeld = hasBalancer(options.adoption);
  const sockets = options.boundSockets ?? (await bindAll(listen, options.inheritedSockets, { mayBeHeld }));
  try {
    parts.sockets = sockets;
    parts.slotSockets.reserve(parts.configs.fleet.pools, options.adoption !== undefined);
    if (!parts.isStopping) {
      parts.adoption?.prepare();
      if (options.adoption !== undefined) recoverSlotSockets(parts);
      await parts.channel.listen();
    }
  } catch (error) {
    for (const socket of sockets) socket.close();
    parts.slotSockets.close();
    throw error;
  }
  if (!parts.isStopping) return true;
  // stop() finished before the sockets and the channel existed, so it could not close them.
  for (const socket of sockets) socket.close();
  parts.slotSockets.close();
  parts.channel.close();
  return false;
}

/** Running instances in direct mode have the sockets of their slots. */
function recoverSlotSockets({ children, configs, slotSockets }: FleetParts): void {
  for (const { pool, generation, name, pid } of children.alive()) {
    const { bind } = configs.generation(pool, generation)?.pool ?? {};
    if (bind !== undefined && pid !== null) slotSockets.recover(name, pid, bind);
  }
}

/** Starts the monitoring of the processes, and reports that the fleet has started. */
export function startParts(parts: FleetParts, { config: { user } }: Pick<PartsOptions, "config">): void {
  parts.outputs.start();
  parts.usage.start();
  parts.liveness.start();
  parts.deaths.start();
  parts.series.start();
  parts.autoscaling.start();
  const addresses = parts.urls.join(", ");
  parts.log.event("info", "paceline", addresses === "" ? "started; it does not listen" : `listens on ${addresses}`);
  if (user !== null) parts.log.event("info", "paceline", `runs as the user ${user.name}`);
}

/** Reads the certificates of https addresses before a balancer needs them. Their code is only loaded if there are such addresses. */
export async function openCertificates(
  parts: FleetParts,
  { runDir, adoption, certificatesAsRoot: asRoot, version }: CertificateSources,
): Promise<void> {
  const { fleet } = parts.configs;
  if (fleet.tls === undefined) return;
  const [{ CertificateStore }, { FleetCertificates }] = await Promise.all([
    import("./certificates/store.js"),
    import("./certificates/fleet-certificates.js"),
  ]);
  const store = new CertificateStore({
    ...{ fleet: fleet.name, folder: runDir.tlsFolder, isAdopted: adoption !== undefined, asRoot },
    certify: (messages, timeoutMs) => parts.coordination.certify(messages, timeoutMs),
    log: (level, message) => parts.log.event(level, "paceline", message, level === "info" ? undefined : "certificate"),
  });
  parts.certificates = new FleetCertificates({
    ...{ store, log: parts.log, version, folder: join(runDir.tlsFolder, "automatic") },
    config: () => parts.configs.fleet.tls?.automatic,
    isStopping: () => parts.isStopping,
  });
  await parts.certificates.follow(fleet);
  // To validate a name, the CA connects to a balancer.
  const isListening = (processes: Fleet) => readyCount(processes, BALANCER_POOL) > 0 || undefined;
  void parts.runner.until(isListening).then(() => parts.certificates?.start());
}

type CertificateSources = Pick<PartsOptions, "runDir" | "adoption"> & CertificateOptions & { version: string };

/** Adds all pools before the first snapshot, which must contain every route. */
export function layOut(parts: FleetParts, { config, environment }: Pick<PartsOptions, "config" | "environment">): void {
  const { runner, configs } = parts;
  runner.set(addPool(runner.fleet, BALANCER_POOL, 1));
  for (const pool of config.pools) {
    runner.set(addPool(runner.fleet, pool.name, configs.addGeneration(pool, environment)));
    configs.setRoutes(pool);
  }
  parts.publishing.publish();
  const sizes: [pool: string, size: number][] = [[BALANCER_POOL, config.balancer.processes]];
  for (const pool of config.pools) sizes.push([pool.name, firstSizeOf(pool)]);
  for (const [name, size] of sizes) runner.change((fleet, context) => resize(fleet, name, size, context));
}

/** Reloads pools when their files change. Resolves with undefined if the fleet was stopped in the meantime. */
export async function watchFiles(
  parts: FleetParts,
  { configFile, runDir }: NonNullable<PartsOptions["watch"]> & { runDir: string },
  reload: (pool: string | undefined) => Promise<OperationResult>,
): Promise<Watch | undefined> {
  const { configs, log, runner, children } = parts;
  // Only loaded for --watch, which is for development.
  const { Watch } = await import("./operations/watch/watch.js");
  if (parts.isStopping) return undefined;
  const watch = new Watch({
    ...{ configFile, runDir, log, reload },
    config: () => configs.fleet,
    isServing: (pool) => {
      const names = pool === undefined ? configs.fleet.pools.map(({ name }) => name) : [pool];
      return names.every((name) => readyCount(runner.fleet, name) > 0);
    },
    allReadySince: (pool) => allReadySince(runner.fleet, pool, (id) => children.get(id)?.spawnedAt),
  });
  runner.watch(() => watch.observe());
  return watch;
}
