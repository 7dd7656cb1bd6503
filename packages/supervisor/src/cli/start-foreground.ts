/** Runs the supervisor in this process: opens the run directory, serves the control socket, prints the log, and exits with the fleet. */
import { dirname } from "node:path";
import { type RestartCommand, showTitle } from "@paceline/wire";
import type { ReadFiles } from "../certificates/watched-files.js";
import { certificateWarnings } from "../config/certificate-files.js";
import { clientAddresses, formatListenAddress } from "../config/listen-address.js";
import type { LoadedFleet } from "../config/load.js";
import { secretWarnings } from "../config/secrets.js";
import type { OperationResult, Status } from "../control/api.js";
import { callerOf } from "../control/caller.js";
import { ControlServer } from "../control/server.js";
import type { FleetConfig } from "../core/model.js";
import { exitStatusOfCode, PacelineError } from "../errors.js";
import { describeFleet, lateMessage, type PreparedStart, prepareStart } from "../fleet/prepare-start.js";
import { launchByBalancer, restartCommandOf, UP } from "../fleet/supervisor-process.js";
import { builtFile, version } from "../package.js";
import { userToBecome } from "../run-dir/fleet-user.js";
import { beginHandOver } from "../run-dir/hand-over.js";
import { pruneRunDirs, registerElsewhere, stateFolder } from "../run-dir/registry.js";
import { openRunDir, type RunDir } from "../run-dir/run-dir.js";
import { isDiskFull } from "../run-dir/run-dir-files.js";
import { ownRuntimeCommand, processTitle } from "../runtime/runtimes.js";
import { Shrinker } from "../runtime/shrinker.js";
import { type InheritedSockets, takeInheritedSockets } from "../sockets/inherited-sockets.js";
import type { ListeningSocket } from "../sockets/listening-sockets.js";
import { createSupervisor } from "../supervisor.js";
import type { HandOver, Supervisor } from "../supervisor-options.js";
import { ServedConfig } from "./deploy-source.js";
import { type LogPrinter, openLogPrinter } from "./line-writer.js";
import { openLogFile } from "./log-file.js";
import { startNextSupervisor } from "./next-supervisor.js";
import { milliseconds, type StartOptions, startOf } from "./options.js";
import { EXIT, type ExitStatus, failureOf, printResult } from "./output.js";
import { RecordKeeper, RunDirKeeper } from "./run-dir-keeper.js";
import { type Invitation, ServiceManager, takeInvitation } from "./service-manager.js";
import { followFleet } from "./start-as-client.js";
import { exitSoon, isNobodys, type Starter, starterOf } from "./starter.js";

export async function startForeground(target: string, options: StartOptions): Promise<ExitStatus> {
  const starter = starterOf(options);
  let status: ExitStatus = EXIT.failed;
  try {
    status = await run(target, options, starter);
  } catch (error) {
    if (starter === undefined) throw error;
    // The starting command prints the error.
    const failure = failureOf(error);
    starter.notify(JSON.stringify(failure));
    status = exitStatusOfCode(failure.code);
  }
  exitSoon(status);
  await starter?.end(status);
  return status;
}

async function run(target: string, options: StartOptions, starter: Starter | undefined): Promise<ExitStatus> {
  const isMain = starter === undefined || options.nextSupervisor === true;
  // This is done first, because it removes systemd's variables from the environment, which is passed on below.
  const service = takeService(isMain, options);
  const start = startOf(target, options);
  const prepared = await prepareStart(start, { handover: options.fleetFd ?? options.fleetFile });
  // A service manager hands the sockets over itself.
  const next =
    starter === undefined && service.invitation === undefined && (await launchByBalancer(start, prepared, true));
  if (next) return followFleet(prepared, next, options);
  const isOwn = starter !== undefined && isNobodys(options, service.invitation !== undefined);
  const restart = isOwn ? restartCommandOf(start, prepared) : undefined;
  const outside = { ...service, starter, restart, printer: openLogPrinter(options.logFormat ?? "text") };
  const replace = options.replace === true;
  const user = userToBecome(prepared.fleet);
  if (user !== undefined) {
    const { startAs } = await import("./start-as-user.js");
    return startAs(
      user,
      prepared,
      { replace, inherited: service.sockets, onOpened: () => register(prepared) },
      (as, runDir, asRoot) => runOn(target, runDir, as, options, { ...outside, ...asRoot }),
    );
  }
  const runDir = await openRunDir(prepared.runDirPath, { replace, source: prepared.identity.source });
  const unregister = register(prepared);
  try {
    return await runOn(target, runDir, prepared, options, outside);
  } finally {
    unregister();
    runDir.release();
  }
}

/** Runs the fleet until it stops, or until another supervisor has taken over. If that fails, continues with the fleet. */
async function runOn(
  target: string,
  runDir: RunDir,
  prepared: PreparedStart,
  options: StartOptions,
  outside: Outside,
): Promise<ExitStatus> {
  // The fleet may have been stopped since a balancer started this process.
  if (options.onlyAdopts && runDir.adoption === undefined)
    throw new PacelineError("not-running", "there is no fleet to take over");
  const { problem } = prepared.fleet;
  if (problem !== undefined && runDir.adoption === undefined) throw new PacelineError("config", problem);
  let [present, from] = [runDir, outside];
  try {
    for (;;) {
      const recordError = recordOf(prepared, present);
      // The working directory may be in a release that is deleted while the fleet runs.
      process.chdir(prepared.runDirPath);
      const end = await runFleet(prepared, present, options, { ...from, recordError });
      if (typeof end === "number") return end;
      const { channelSocket } = present.paths;
      const mark = beginHandOver(prepared.runDirPath, end.next.version);
      present.handOver();
      const surroundings = { ...{ prepared, options, target, channelSocket, mark }, ...outside, fleet: end.fleet };
      const outcome = await startNextSupervisor(end, surroundings);
      if (typeof outcome === "number") return outcome;
      present = await openRunDir(prepared.runDirPath, { source: prepared.identity.source });
      mark.remove();
      const rolledBack = { at: Date.now(), reason: outcome.problem };
      from = { ...outside, boundSockets: [...end.sockets], rolledBack };
    }
  } catch (error) {
    // The fleet that was to be taken over continues without a supervisor.
    if (present.adoption !== undefined) present.handOver();
    throw error;
  } finally {
    if (present !== runDir) present.release();
    await outside.printer.close();
  }
}

/** Returns why the record cannot be written now. The fleet runs all the same, because it must not be left without a supervisor. */
function recordOf(prepared: PreparedStart, runDir: RunDir): unknown {
  try {
    describe(prepared, runDir, prepared.fleet);
  } catch (error) {
    if (runDir.adoption === undefined || !isDiskFull(error)) throw error;
    return error;
  }
}

/** The objects that the supervisor gets from outside. */
interface Outside extends Service {
  /** Set if the record is out of date. */
  recordError?: unknown;
  starter: Starter | undefined;
  printer: LogPrinter;
  restart: RestartCommand | undefined;
  /** The sockets of `listen`, if they are already bound. */
  boundSockets?: ListeningSocket[];
  certificatesAsRoot?: ReadFiles | undefined;
  rolledBack?: Status["rolledBack"];
}

/** What systemd has given to its unit's main process. */
interface Service {
  invitation: Invitation | undefined;
  sockets: InheritedSockets;
}

/** @param isMain false for a supervisor that another program has started, so that it is not the service manager's main process */
function takeService(isMain: boolean, { listenFds }: StartOptions): Service {
  const invitation = takeInvitation();
  return { invitation: isMain ? invitation : undefined, sockets: takeInheritedSockets(isMain, listenFds) };
}

/** Registers a run directory that the operator or systemd has chosen, so that commands find it. */
function register({ identity, runDirPath }: PreparedStart): () => void {
  try {
    const folder = stateFolder(process.env);
    pruneRunDirs(folder);
    if (dirname(runDirPath) !== folder) return registerElsewhere(folder, identity, runDirPath);
  } catch {
    // A user without a home directory has to name the run directory.
  }
  return () => {};
}

/** Records in the run directory which fleet and which release it runs. */
function describe({ identity, options }: PreparedStart, runDir: RunDir, { config, release }: LoadedFleet): void {
  const { name, orphanGraceMs } = config;
  runDir.describe({
    ...identity,
    release,
    name,
    orphanGraceMs,
    options,
    listen: clientAddresses(config).map(formatListenAddress),
    accessLogFile: config.balancer.accessLogRule?.file,
  });
}

async function runFleet(
  prepared: PreparedStart,
  runDir: RunDir,
  options: StartOptions,
  { starter, printer, restart, boundSockets, certificatesAsRoot, rolledBack = null, recordError, ...service }: Outside,
): Promise<ExitStatus | (HandOver & { fleet: LoadedFleet })> {
  const { fleet, request, runtimes } = prepared;
  const served = new ServedConfig(fleet, request, runDir.adoption?.state.deployed, (config) => warnOfFiles(config));
  showTitle(processTitle("supervisor", fleet.config.name));
  const log = openLogFile({
    ...fleet.config.log,
    folder: runDir.logFolder,
    onTrouble: (message) => supervisor.warn(message),
  });
  const record = new RecordKeeper(
    () => describe(prepared, runDir, served.inService),
    (problem) => supervisor.warn(problem),
  );
  const serviceManager =
    service.invitation &&
    new ServiceManager({
      ...service.invitation,
      status: () => supervisor.status(),
      onProblem: (message) => supervisor.warn(message),
    });
  const supervisor = createSupervisor({
    ...(serviceManager === undefined ? {} : { observer: serviceManager }),
    inheritedSockets: service.sockets,
    ...{ boundSockets, certificatesAsRoot, rolledBack },
    startedBy: options.nextSupervisor || rolledBack !== null ? undefined : callerOf(request.environment),
    problem: () => keeper.problem ?? record.problem ?? served.problem ?? null,
    configProblem: fleet.problem,
    // After a failed upgrade, this process continues with its own fleet, which needs no reload.
    reloadsAdopted: rolledBack === null && (options.orReload || options.reloadAdopted) === true,
    logStatus: log.status,
    isLogBusy: () => log.isBusy,
    isLogSettled: () => log.isSettled,
    restart,
    config: fleet.config,
    adoption: runDir.adoption,
    runDir: runDir.paths,
    environment: request.environment,
    loadConfig: () => served.load(),
    deploySource: served.sources,
    peekConfig: () => served.peek(),
    replaceConfig: (config) => served.replace(config),
    onReloaded: () => {
      served.reloaded();
      record.update();
      log.limit(served.inService.config.log);
    },
    runtimes: { node: runtimes.node ?? "node", ...(runtimes.bun === undefined ? {} : { bun: runtimes.bun }) },
    version: version(),
    program: ownRuntimeCommand({ entry: builtFile("programs/cli/main.js"), hasUserCode: false }),
    ...(options.watch ? { watch: { configFile: fleet.source.kind === "config" ? fleet.source.file : undefined } } : {}),
  });
  const warnOfFiles = (config: FleetConfig) => {
    const certificates = certificateWarnings(config.tls?.certificates ?? []);
    for (const warning of [...secretWarnings(config), ...certificates]) supervisor.warn(warning);
  };
  supervisor.onLog((lines) => {
    printer.print(lines);
    log.write(lines);
  });
  for (const warning of runDir.warnings) supervisor.warn(warning);
  if (serviceManager !== undefined) supervisor.onEvent(() => serviceManager.changed());
  const shrinker = new Shrinker();
  supervisor.onEvent(() => shrinker.note());
  if (recordError !== undefined) record.update();
  const reopen = () => log.reopen();
  const reopenAll = () => {
    reopen();
    supervisor.reopenAccessLogs();
  };
  process.on("SIGUSR1", reopenAll);
  let control = new ControlServer(supervisor, runDir.paths.controlSocket);
  const keeper = new RunDirKeeper({
    ...{ runDir, supervisor, reopen },
    serve: async () => {
      // Closing the socket removes whatever is at its path.
      await control.close();
      control = new ControlServer(supervisor, runDir.paths.controlSocket);
      await control.listen();
    },
  });
  await control.listen();
  let forgetClient = () => {};
  let isHandedOver = false;
  try {
    announce(prepared, printer, runDir.adoption?.state.config ?? fleet.config);
    if (options.stopWithClient) forgetClient = starter?.watch(() => void supervisor.stop(CLIENT_GONE)) ?? forgetClient;
    await supervisor.start();
    warnOfFiles(fleet.config);
    if (process.pid === 1) supervisor.warn(AS_PID_1);
    if (fleet.config.user !== null) {
      const { reloadWarning } = await import("./start-as-user.js");
      const warning = reloadWarning(fleet, fleet.config.user);
      if (warning !== undefined) supervisor.warn(warning);
    }
    if (rolledBack !== null)
      supervisor.warn(`the upgrade was rolled back, and this version continues: ${rolledBack.reason}`);
    await serviceManager?.store(supervisor.ownSockets());
    starter?.notify(UP);
    const isTakenOver = runDir.adoption !== undefined;
    const end = await untilEnd(supervisor, options, { starter, isTakenOver }, () => serviceManager?.ready());
    if (typeof end === "number") return end;
    // The client still belongs to this process.
    isHandedOver = true;
    return Object.assign(end, { fleet: served.inService });
  } finally {
    if (!isHandedOver) forgetClient();
    keeper.close();
    record.close();
    await control.close();
    process.off("SIGUSR1", reopenAll);
    await log.close();
  }
}

/** The caller of the stop of a fleet whose terminal has closed. */
const CLIENT_GONE = { ...callerOf({}), via: "the end of paceline start" };

const AS_PID_1 =
  "runs as PID 1, where nothing reaps the processes that apps leave behind: start the container with --init, or with the command paceline of the package";

/** The time after which a service manager is told that an adopted fleet serves, even if part of it is not ready. In milliseconds. */
const TAKEN_OVER_SERVES_MS = 3_000;

/** Resolves with the exit status when the fleet has stopped, or has failed to start. */
async function untilEnd(
  supervisor: Supervisor,
  options: StartOptions,
  { starter, isTakenOver }: { starter: Starter | undefined; isTakenOver: boolean },
  onServing: () => void,
): Promise<ExitStatus | HandOver> {
  // An adopted fleet already serves.
  const timer = isTakenOver ? setTimeout(onServing, TAKEN_OVER_SERVES_MS) : undefined;
  const timeoutMs = milliseconds(options.timeout);
  const ready = await Promise.race([supervisor.ended.then(() => undefined), waitReady(supervisor, timeoutMs)]);
  clearTimeout(timer);
  if (ready !== undefined && !ready.ok && starter === undefined) {
    const status = printResult(ready, false);
    const serving = supervisor.status().pools.some((pool) => pool.ready > 0);
    // A fleet that serves something keeps running. If nothing serves, the start has failed.
    if (!isTakenOver && (!serving || ready.code === "timeout")) {
      await supervisor.stop();
      await supervisor.ended;
      return status;
    }
  }
  if (ready !== undefined) onServing();
  const end = await supervisor.ended;
  if ("next" in end) return end;
  return end.failed ? EXIT.failed : EXIT.done;
}

async function waitReady(supervisor: Supervisor, timeoutMs: number | undefined): Promise<OperationResult> {
  if (timeoutMs === undefined) return supervisor.waitReady();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<OperationResult>((resolve) => {
    const give = () => resolve({ ok: false, code: "timeout", ...lateMessage(timeoutMs, supervisor.status()) });
    timer = setTimeout(give, timeoutMs);
  });
  const result = await Promise.race([supervisor.waitReady(), late]);
  clearTimeout(timer);
  return result;
}

function announce({ request, runtimes }: PreparedStart, printer: LogPrinter, config: FleetConfig): void {
  const runtime = config.pools[0]?.runtime ?? runtimes.preferred;
  const ours = process.versions.bun === undefined ? "node" : "bun";
  const shown = runtime === ours ? `${runtime} ${process.versions[runtime]}` : runtime;
  const text = `${describeFleet(config, request.cwd)} (${shown})`;
  printer.print([{ sequence: 0, at: Date.now(), name: "paceline", text }]);
}
