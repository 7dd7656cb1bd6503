/** The read-only view of a fleet for clients of the control socket. */
import type {
  DeathDetails,
  FigureHistory,
  OpenRequestStatus,
  OperationResult,
  PageAccess,
  Status,
  SupervisorApi,
} from "./control/api.js";
import { type Attention, attentionOf } from "./core/attention.js";
import type { DeathReport } from "./core/deaths.js";
import { processId } from "./core/fleet.js";
import type { FleetConfig } from "./core/model.js";
import { isAbout } from "./core/words.js";
import { type Family, type TextFormat, textOf } from "./metrics/exposition.js";
import { familiesOf } from "./metrics/families.js";
import { diffFleet } from "./operations/fleet-diff.js";
import { fleetState } from "./operations/fleet-questions.js";
import { buildStatus } from "./operations/status.js";
import type { Watch } from "./operations/watch/watch.js";
import { PageToken } from "./run-dir/own-secrets.js";
import { detailsOf, Records, readReports } from "./run-dir/report-files.js";
import type { SupervisorOptions } from "./supervisor-options.js";
import type { FleetParts } from "./wiring.js";

/** Absent for a fleet without an https address. */
const NO_CERTIFICATES: SupervisorApi["certificates"] = {
  views: () => [],
  renew: async () => ({ ok: false, code: "invalid", message: "no address of this fleet is https; see docs/tls.md" }),
};
/** How often followers get the status, in milliseconds; a timer may be slightly early. */
const STATUS_EVERY_MS = 1000;
const STATUS_EARLY_MS = 50;
/** The maximum number of deaths that clients get. */
const MAX_DEATHS = 100;
/** A report of a death is complete after this time, in milliseconds. */
const COMPLETE_MS = 7000;
const REPORTS_EVERY_MS = 2000;

export abstract class FleetView {
  private readonly startedAt: number;
  private readonly pageToken: PageToken;
  readonly records: Records;
  protected watch: Watch | undefined;
  /** Whether all processes that the start required have been ready. */
  protected hasStarted = false;
  private readonly statusListeners = new Set<(status: Status) => void>();
  private statusTimer: NodeJS.Timeout | undefined;
  /** What needed attention, when that was decided, and the reports of deaths that were used. */
  private attention: { at: number; found: readonly Attention[] } = { at: Number.NEGATIVE_INFINITY, found: [] };
  private reports: { at: number; last: number | undefined; all: readonly DeathReport[] } | undefined;

  constructor(
    protected readonly parts: FleetParts,
    protected readonly options: SupervisorOptions,
  ) {
    this.pageToken = new PageToken(options.runDir.path, (message) => this.warn(message));
    this.records = new Records(options.runDir);
    const { startedAt = Date.now() } = options.adoption?.state ?? {};
    this.startedAt = performance.now() - Math.max(0, Date.now() - startedAt);
  }

  status(): Status {
    const status = this.figures();
    return { ...status, attention: this.attentionIn(status) };
  }

  /** Decides what needs attention, at most once a second for all clients. */
  private attentionIn(status: Status): readonly Attention[] {
    const now = performance.now();
    if (now - this.attention.at < STATUS_EVERY_MS - STATUS_EARLY_MS) return this.attention.found;
    const known = { now: Date.now(), events: this.recentEvents(), deaths: this.reportsOf(now) };
    this.attention = { at: now, found: attentionOf(status, known) };
    return this.attention.found;
  }

  /** Returns the reports of deaths. They are read after a death, and once more when its report is complete. */
  private reportsOf(now: number): readonly DeathReport[] {
    const { last } = this.parts.deaths;
    const { reports } = this;
    if (reports !== undefined) {
      const wasComplete = last === null || Date.now() - (now - reports.at) - last.at >= COMPLETE_MS;
      const isKnown = reports.last === last?.id && (wasComplete || Date.now() - last.at < COMPLETE_MS);
      if (isKnown || now - reports.at < REPORTS_EVERY_MS) return reports.all;
    }
    // Without the long parts, which are not used here.
    const all = readReports(this.options.runDir.deathsFolder).map(
      (report): DeathReport => ({ ...report, stack: report.stack.slice(0, 1), history: null, lastLines: [] }),
    );
    this.reports = { at: now, last: last?.id, all };
    return all;
  }

  /** Returns the status without the parts that are derived from it. */
  private figures(): Status {
    const { parts, options } = this;
    const { fleet } = parts.runner;
    return buildStatus({
      ...parts,
      fleet,
      startedAt: this.startedAt,
      version: options.version,
      state: fleetState(fleet, parts.slots, { isStopping: parts.isStopping, hasStarted: this.hasStarted }),
      listen: parts.urls,
      watch: this.watch?.status ?? null,
      problem: this.problem(),
      logStatus: options.logStatus?.() ?? null,
      rolledBack: options.rolledBack ?? null,
    });
  }

  /** Nothing is measured while there is no listener. */
  onStatus(listener: (status: Status) => void): () => void {
    const { statusListeners } = this;
    statusListeners.add(listener);
    this.statusTimer ??= setInterval(() => {
      const status = this.status();
      for (const each of [...statusListeners]) each(status);
    }, STATUS_EVERY_MS);
    return () => {
      statusListeners.delete(listener);
      if (statusListeners.size > 0) return;
      clearInterval(this.statusTimer);
      this.statusTimer = undefined;
    };
  }

  /** Returns a problem with the fleet's surroundings, or with its state file. */
  protected problem(): string | null {
    return this.options.problem?.() ?? this.parts.state.problem;
  }

  history(...args: Parameters<SupervisorApi["history"]>): FigureHistory {
    return this.parts.series.read(...args);
  }

  async openRequests(name?: string): Promise<{ requests: OpenRequestStatus[] }> {
    const open = await this.parts.coordination.openRequests();
    const requests = open.flatMap(({ upstream, ...request }) => {
      const slot = upstream.slice(0, upstream.indexOf("#"));
      return isAbout(slot, name) ? [{ name: slot, ...request }] : [];
    });
    return { requests };
  }

  deaths(): { deaths: DeathDetails[] } {
    return { deaths: readReports(this.options.runDir.deathsFolder).slice(0, MAX_DEATHS).map(detailsOf) };
  }

  page(): PageAccess {
    const { listen, mayWrite = false } = this.parts.configs.fleet.admin ?? {};
    if (listen == null) return { url: null, mayWrite };
    const { host, port } = listen;
    const token = this.tokenOfPage();
    const hash = token === undefined ? "" : `#token=${token}`;
    return { url: `http://${host.includes(":") ? `[${host}]` : host}:${port}/${hash}`, mayWrite };
  }

  protected tokenOfPage(): string | undefined {
    return this.pageToken.of(this.parts.configs.fleet.admin?.tokenFile);
  }

  async metrics(format: TextFormat): Promise<string> {
    await this.parts.adoption?.counted;
    return textOf(this.families(), format);
  }

  protected families(): Family[] {
    const { children, runner, routes, configs } = this.parts;
    const slots = runner.fleet.pools.flatMap((pool) => pool.slots);
    const ids = new Map(slots.map(({ name, member }) => [name, processId(name, member.process.attempt)]));
    const latenciesOf = (slot: string) => children.get(ids.get(slot) ?? "")?.stats.latencyTotals;
    const pools = configs.fleet.pools.map(({ name }) => name);
    return familiesOf(this.figures(), latenciesOf, routes.all(pools), this.certificates.views());
  }

  get certificates(): SupervisorApi["certificates"] {
    return this.parts.certificates ?? NO_CERTIFICATES;
  }

  diff(...[pool, environment, release]: Parameters<SupervisorApi["diff"]>): Promise<OperationResult> {
    const { configs, children, runner, deploys, reload } = this.parts;
    const { peekConfig, loadConfig, runtimes, deploySource } = this.options;
    const sides =
      release === undefined
        ? { loadConfig: peekConfig ?? loadConfig, refusal: (next: FleetConfig) => reload.refusal(next, pool) }
        : {
            loadConfig: () => deploySource.peekRelease(release, configs.fleet.name),
            refusal: (next: FleetConfig) => deploys.refusalOf(next),
          };
    return diffFleet({ configs, children, fleet: () => runner.fleet, runtimes, ...sides }, pool, environment);
  }

  names(): string[] {
    const { runner, children } = this.parts;
    const { pools } = runner.fleet;
    return [
      ...pools.map(({ name }) => name),
      ...pools.flatMap(({ slots }) => slots.map(({ name }) => name)),
      ...[...children.templates.alive()].map(({ name }) => name),
      "paceline",
    ];
  }

  /** Reports a problem in the events and the log. */
  warn(message: string): void {
    this.parts.log.event("warn", "paceline", message);
  }

  recentEvents(): ReturnType<SupervisorApi["recentEvents"]> {
    return this.parts.log.recentEvents();
  }

  recentLog(name: string | undefined): ReturnType<SupervisorApi["recentLog"]> {
    return this.parts.log.recentLog(name);
  }

  onEvent(...args: Parameters<SupervisorApi["onEvent"]>): () => void {
    return this.parts.log.onEvent(...args);
  }

  onLog(...args: Parameters<SupervisorApi["onLog"]>): () => void {
    return this.parts.log.onLog(...args);
  }

  onRecorded(...[listener]: Parameters<SupervisorApi["onRecorded"]>): () => void {
    return this.parts.recordings.add(listener);
  }
}
