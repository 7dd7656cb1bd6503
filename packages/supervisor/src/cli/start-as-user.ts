/** Starts a fleet of root as its user: does as root what only root can do, then becomes the user before any of the user's code runs. */
import type { ReadFiles } from "../certificates/watched-files.js";
import type { LoadedFleet } from "../config/load.js";
import { whyClosed } from "../config/paths.js";
import type { AutomaticConfig, FleetConfig, FleetUser, TlsConfig } from "../core/model.js";
import { PacelineError } from "../errors.js";
import type { PreparedStart } from "../fleet/prepare-start.js";
import { builtFile } from "../package.js";
import {
  actAs,
  becomeUser,
  claimLasting,
  claimRunDir,
  claimSpool,
  environmentOfUser,
  unusable,
} from "../run-dir/fleet-user.js";
import { addressesOf, hasBalancer, openRunDir, type RunDir } from "../run-dir/run-dir.js";
import type { InheritedSockets } from "../sockets/inherited-sockets.js";
import { bindAll, type ListeningSocket } from "../sockets/listening-sockets.js";

interface StartAsOptions {
  replace: boolean;
  inherited: InheritedSockets;
  /** Called as root when the run directory is locked. */
  onOpened(): void;
}

/**
 * Calls `run` as the user, with the bound sockets of `listen`.
 * @throws PacelineError such as `EADDRINUSE`, `running` or `rundir`; `user` if that user may not run Paceline
 */
export async function startAs<T>(
  user: FleetUser,
  prepared: PreparedStart,
  { replace, inherited, onOpened }: StartAsOptions,
  run: (prepared: PreparedStart, runDir: RunDir, asRoot: FromRoot) => Promise<T>,
): Promise<T> {
  const { runDirPath, request, fleet } = prepared;
  claimRunDir(runDirPath, user);
  claimSpool(fleet.config, user);
  const endActing = actAs(user);
  const runDir = await openRunDir(runDirPath, { replace, source: prepared.identity.source });
  try {
    endActing();
    for (const folder of [runDir.paths.deathsFolder, runDir.paths.historyFolder, runDir.paths.tlsFolder])
      claimLasting(folder, runDirPath, user);
    onOpened();
    const { adoption } = runDir;
    const listen = addressesOf(fleet.config, adoption);
    const sockets = await bindAll(listen, inherited, { owner: user, mayBeHeld: hasBalancer(adoption) });
    const certificatesAsRoot = fleet.config.tls && (await readCertificates(fleet.config.tls));
    try {
      becomeUser(user);
      checkPrograms(user, prepared);
      checkOrders(user, fleet.config.tls?.automatic);
      if (adoption === undefined) checkFolders(user, fleet.config);
    } catch (error) {
      for (const socket of sockets) socket.close();
      throw error;
    }
    const environment = { ...request.environment, ...environmentOfUser(user) };
    const asRoot = { boundSockets: sockets, certificatesAsRoot };
    return await run({ ...prepared, request: { ...request, environment } }, runDir, asRoot);
  } finally {
    // Root removes no files in another user's folder.
    if (process.geteuid?.() === 0) actAs(user);
    runDir.release();
  }
}

/** Files and ports that only root can open. */
interface FromRoot {
  boundSockets: ListeningSocket[];
  certificatesAsRoot: ReadFiles | undefined;
}

async function readCertificates(tls: TlsConfig): Promise<ReadFiles> {
  const { WatchedFiles } = await import("../certificates/watched-files.js");
  const files = new WatchedFiles({ log: () => {}, onChange: () => {} });
  files.follow(tls);
  files.close();
  return files.read;
}

function checkPrograms({ name }: FleetUser, { runtimes }: PreparedStart): void {
  const paths = [process.execPath, runtimes.bun ?? "", runtimes.node ?? ""].filter((path) => path.startsWith("/"));
  const [denied] = unusable([...paths, builtFile("programs")], "run");
  if (denied !== undefined)
    throw new PacelineError("user", `${name} may not run ${denied}: install Paceline where that user can read it`);
}

/** Checks that the user may open the folders of static files, which root could open when it read the config. */
function checkFolders({ name }: FleetUser, { pools }: FleetConfig): void {
  const closed = pools.find(({ kind, source }) => kind === "static" && whyClosed(source) !== undefined);
  if (closed !== undefined)
    throw new PacelineError(
      "user",
      `${name} may not open the files in ${closed.source}, the folder of the pool ${closed.name}`,
    );
}

/** Checks files that are read only later, as the user, when certificates are ordered. */
function checkOrders({ name }: FleetUser, automatic: AutomaticConfig | undefined): void {
  const [denied] = unusable(automatic === undefined ? [] : filesForOrders(automatic));
  if (denied !== undefined)
    throw new PacelineError(
      "user",
      `${name} cannot read ${denied}, which is needed to order certificates: chown it to ${name}, with mode 0600`,
    );
}

function filesForOrders({ caFile, externalAccount }: AutomaticConfig): string[] {
  const key = externalAccount?.key;
  return [caFile, typeof key === "object" && "file" in key ? key.file : null].flatMap((file) => file ?? []);
}

/** Returns a warning if the user cannot read the files that root has read. */
export function reloadWarning({ config, source }: LoadedFleet, user: FleetUser): string | undefined {
  const secrets = config.pools.flatMap((pool) => Object.values(pool.secrets));
  const files = [
    ...(source.kind === "config" ? [source.file] : []),
    ...config.pools.flatMap(({ envFiles }) => envFiles),
    ...secrets.flatMap((secret) => ("file" in secret ? [secret.file] : [])),
    ...(config.tls?.certificates.flatMap(({ certificate, key }) => [certificate, key]) ?? []),
    ...(config.tls?.clientCa == null ? [] : [config.tls.clientCa]),
  ];
  const denied = unusable([...new Set(files)]);
  return denied.length === 0 ? undefined : `a reload will be refused: ${user.name} cannot read ${denied.join(", ")}`;
}
