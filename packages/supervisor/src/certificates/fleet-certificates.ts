/** All certificates of a fleet, for status and commands, and the automatic ones, whose code is loaded on demand. */
import { X509Certificate } from "node:crypto";
import type { CertificateEntry } from "@paceline/wire";
import { stateOf } from "../core/acme-plan.js";
import { type CertificateSummary, type CertificateView, summaryOf } from "../core/certificates.js";
import type { AutomaticConfig, FleetConfig } from "../core/model.js";
import { formatDuration } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { AutomaticCertificates, AutomaticName, CertificateSink } from "./automatic.js";
import type { OnDemand } from "./on-demand.js";
import type { CertificateStore } from "./store.js";

interface FleetCertificatesOptions {
  store: CertificateSink & Pick<CertificateStore, "all" | "status" | "follow" | "close">;
  /** The configuration in service; undefined: no certificate is automatic. */
  config(): AutomaticConfig | undefined;
  log: Pick<EventLog, "event">;
  /** The folder that outlasts a restart of the machine. */
  folder: string;
  version: string;
  isStopping(): boolean;
}

type Renewal = { ok: true; message: string } | { ok: false; code: "invalid" | "failed"; message: string };

export class FleetCertificates {
  private automatic: AutomaticCertificates | undefined;
  private onDemand: OnDemand | undefined;
  private hasStarted = false;
  private readonly issuers = new WeakMap<CertificateEntry, { issuer: string; notBefore: number }>();
  private lastProblem = "";

  constructor(private readonly options: FleetCertificatesOptions) {}

  /** Follows the configuration in service. Kept certificates are in use when it resolves. */
  async follow(fleet: Pick<FleetConfig, "tls" | "listen">): Promise<void> {
    const { config, isStopping, store } = this.options;
    store.follow(fleet);
    if (config() !== undefined && this.automatic === undefined) await this.load();
    if (isStopping()) return;
    this.onDemand?.forget();
    this.automatic?.follow();
  }

  private async load(): Promise<void> {
    const { config, log, folder, store, version, isStopping } = this.options;
    const [{ AutomaticCertificates }, { OnDemand }] = await Promise.all([
      import("./automatic.js"),
      import("./on-demand.js"),
    ]);
    if (isStopping() || this.automatic !== undefined) return;
    const onDemand = new OnDemand({
      url: () => config()?.ask ?? null,
      onProblem: (problem) => {
        if (problem !== this.lastProblem)
          log.event(
            "warn",
            "paceline",
            `tls.automatic.ask: ${problem}; names on demand get no certificate`,
            "certificate",
          );
        this.lastProblem = problem;
      },
    });
    this.onDemand = onDemand;
    this.automatic = new AutomaticCertificates({
      ...{ folder, log, config, sink: store, userAgent: `paceline/${version}` },
      mayRenew: (name) => onDemand.mayHave(name),
    });
    if (this.hasStarted) this.automatic.start();
  }

  /** Called when a balancer is ready, so that orders may begin. */
  start(): void {
    this.hasStarted = true;
    this.automatic?.start();
  }

  /** Called when a client requests a name without a certificate. Resolves with whether the name has a certificate now. */
  async want(name: string): Promise<boolean> {
    const { automatic, onDemand } = this;
    if (automatic === undefined || onDemand === undefined || !(await onDemand.mayHave(name))) return false;
    return automatic.wantOnDemand(name);
  }

  views(): CertificateView[] {
    const now = Date.now();
    const { store } = this.options;
    const { all, status } = store;
    const given = all.filter(({ source }) => source !== "automatic");
    const problemOf = ({ names }: CertificateEntry) =>
      status.find((each) => each.names.join() === names.join() && each.notAfter > now)?.problem ?? null;
    const inUse = new Map(all.flatMap((each) => (each.source === "automatic" ? [[each.names[0], each]] : [])));
    return [
      ...given.map((entry) => this.viewOf(entry, problemOf(entry), now)),
      ...(this.automatic?.names() ?? []).map((each) => this.viewOfAutomatic(each, inUse.get(each.plan.name), now)),
    ];
  }

  get summary(): CertificateSummary {
    return summaryOf(this.views(), Date.now());
  }

  private viewOf(entry: CertificateEntry, problem: string | null, now: number): CertificateView {
    const { names, source, notAfter } = entry;
    const { issuer, notBefore } = this.issuerOf(entry);
    return {
      ...{ names, source, issuer, notBefore, notAfter, state: notAfter <= now ? "expired" : "valid" },
      ...{ nextOrderAt: null, isRecalled: false, isOnDemand: false },
      lastError: problem === null ? null : { at: now, message: problem },
    };
  }

  private viewOfAutomatic(
    { plan, isOrdering, isRecalled, nextAt, isOnDemand }: AutomaticName,
    entry: CertificateEntry | undefined,
    now: number,
  ): CertificateView {
    return {
      ...{ names: [plan.name], source: "automatic", issuer: entry ? this.issuerOf(entry).issuer : null },
      ...{ notBefore: plan.issued?.notBefore ?? null, notAfter: plan.issued?.notAfter ?? null },
      ...{
        state: stateOf(plan, isOrdering, now),
        nextOrderAt: nextAt,
        lastError: plan.lastError,
        isRecalled,
        isOnDemand,
      },
    };
  }

  private issuerOf(entry: CertificateEntry): { issuer: string; notBefore: number } {
    const known = this.issuers.get(entry);
    if (known !== undefined) return known;
    let found = { issuer: "unknown", notBefore: 0 };
    try {
      const { issuer, validFrom } = new X509Certificate(entry.certificatePem);
      const name = /^CN=(.*)$/m.exec(issuer)?.[1] ?? /^O=(.*)$/m.exec(issuer)?.[1];
      found = { issuer: name ?? issuer.replaceAll("\n", ", "), notBefore: Date.parse(validFrom) };
    } catch {
      // The certificate is shown without these facts.
    }
    this.issuers.set(entry, found);
    return found;
  }

  /** Orders automatic certificates now. @param name undefined: all of them */
  async renew(name: string | undefined, onProgress: (message: string) => void): Promise<Renewal> {
    const { automatic } = this;
    const known = automatic?.names().map(({ plan }) => plan.name) ?? [];
    if (automatic === undefined || known.length === 0)
      return {
        ok: false,
        code: "invalid",
        message: "this fleet has no automatic certificates; see docs/certificates.md",
      };
    const names = name === undefined ? known : [name.toLowerCase()];
    const [unknown] = automatic.renew(names);
    if (unknown !== undefined)
      return {
        ok: false,
        code: "invalid",
        message: `no automatic certificate for "${unknown}" (known: ${known.join(", ")})`,
      };
    const before = new Map(automatic.names().map(({ plan }) => [plan.name, plan]));
    await automatic.whenSettled(names);
    if (automatic.isClosed)
      return {
        ok: false,
        code: "failed",
        message: "the supervisor ended before the order; the next supervisor orders again",
      };
    const now = Date.now();
    let failures = 0;
    for (const { plan, nextAt } of automatic.names()) {
      if (!names.includes(plan.name)) continue;
      const isNew = plan.issues.length > (before.get(plan.name)?.issues.length ?? 0);
      if (isNew) {
        onProgress(`${plan.name}: renewed, until ${new Date(plan.issued?.notAfter ?? 0).toISOString().slice(0, 10)}`);
        continue;
      }
      failures++;
      const reached = `too many orders in the last hour; this one follows in ${formatDuration((nextAt - now) / 1000)}`;
      onProgress(`${plan.name}: ${plan.isForced ? reached : (plan.lastError?.message ?? "not renewed")}`);
    }
    const count = (number: number) => (number === 1 ? "1 certificate was" : `${number} certificates were`);
    if (failures === 0) return { ok: true, message: `${count(names.length)} renewed` };
    return { ok: false, code: "failed", message: `${count(failures)} not renewed; the old certificates stay in use` };
  }

  close(): void {
    this.automatic?.close();
    this.options.store.close();
  }
}
