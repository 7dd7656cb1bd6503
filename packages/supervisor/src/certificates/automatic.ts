/**
 * Orders and renews automatic certificates for all balancers, as core/acme-plan.ts decides. The CA's client is loaded with the first order.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { CertificateEntry } from "@paceline/wire";
import {
  adoptIssued,
  beginOrder,
  endCaPause,
  failOrder,
  forceOrder,
  isInRound,
  isRecalled,
  learnWindow,
  mayForget,
  type NamePlan,
  newPlan,
  nextOrderAt,
  nextStep,
  type OrderBudget,
  type OrderFailure,
  type PlanRules,
  type PlanStep,
  retryNow,
  succeedOnStaging,
  succeedOrder,
} from "../core/acme-plan.js";
import type { AutomaticConfig } from "../core/model.js";
import { formatDuration } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import { AcmeFiles, KeptCertificates } from "./acme-files.js";
import type * as Orders from "./acme-order.js";
import { readCertificate } from "./acme-x509.js";
import { type ChallengeSink, OrderAttempts, orderFailureOf } from "./order-attempts.js";

/** Receives certificates and challenges, and sends them to all balancers. Each method resolves when the balancers have them. */
export interface CertificateSink extends ChallengeSink {
  put(source: "automatic", entries: readonly CertificateEntry[]): Promise<void>;
}

interface AutomaticOptions {
  /** The folder of AcmeFiles. */
  folder: string;
  log: Pick<EventLog, "event">;
  /** The configuration in service; undefined if no certificate is automatic. */
  config(): AutomaticConfig | undefined;
  sink: CertificateSink;
  userAgent: string;
  /** Whether a name on demand is still allowed. Default: it is. */
  mayRenew?: (name: string) => Promise<boolean>;
  now?: () => number;
  random?: () => number;
  /** The client of the CA. */
  loadOrders?: () => Promise<Pick<typeof Orders, "obtain" | "askRenewal">>;
}

/** A name as `paceline certs` shows it. */
export interface AutomaticName {
  plan: NamePlan;
  isOrdering: boolean;
  /** Whether the CA wants the certificate to be replaced at once. */
  isRecalled: boolean;
  isOnDemand: boolean;
  /** When the next order is due. */
  nextAt: number;
}

const MAX_ORDERS_AT_ONCE = 4;
/** How often the clock is checked, in milliseconds, because timers stop while the machine sleeps. */
const LOOK_MS = 60_000;
const MIN_LOOK_MS = 50;
const SETTLE_MS = 100;

export class AutomaticCertificates {
  private readonly files: AcmeFiles;
  private readonly plans = new Map<string, NamePlan>();
  private readonly kept: KeptCertificates;
  private readonly attempts: OrderAttempts;
  private readonly running = new Map<string, Promise<void>>();
  /** The names that an operator has ordered and whose order is in progress. */
  private readonly forced = new Set<string>();
  private readonly closing = new AbortController();
  /** Names whose revoked certificate was reported. */
  private readonly recalled = new Set<string>();
  private budget: OrderBudget;
  private timer: NodeJS.Timeout | undefined;
  private settings = "";
  private hasStarted = false;
  private readonly now: () => number;
  private readonly random: () => number;

  constructor(private readonly options: AutomaticOptions) {
    this.files = new AcmeFiles(options.folder);
    this.now = options.now ?? Date.now;
    this.random = options.random ?? Math.random;
    this.kept = new KeptCertificates({
      ...{ files: this.files, config: options.config, isOrdering: (name) => this.running.has(name) },
      onProblem: (message) => options.log.event("warn", "paceline", message),
    });
    const { files, closing, now } = this;
    const { sink, userAgent, loadOrders } = options;
    this.attempts = new OrderAttempts({ files, sink, userAgent, signal: closing.signal, now, loadOrders });
    const { plans, budget } = this.files.plan();
    this.budget = budget;
    for (const plan of plans) this.plans.set(plan.name, plan);
  }

  /** Applies the configuration in service. Kept certificates are in use when it returns. */
  follow(): void {
    if (this.closing.signal.aborted) return;
    const config = this.options.config();
    const settings = JSON.stringify({ ...config, names: [] });
    const isChanged = this.settings !== "" && this.settings !== settings;
    this.settings = settings;
    for (const { name, certificatePem } of this.kept.read(this.now()))
      this.plans.set(name, adoptIssued(this.planOf(name), readCertificate(certificatePem), this.random()));
    for (const name of this.kept.wanted()) {
      const kept = this.kept.get(name);
      const plan = this.planOf(name);
      // The file of the certificate was lost.
      if (kept === undefined) this.plans.set(name, { ...plan, issued: null, renewAt: null, window: null });
      // A certificate of another CA, for example of a staging directory, serves until there is one of this CA.
      else this.plans.set(name, kept.directory === config?.directory ? plan : { ...plan, renewAt: 0 });
      // After a change of the configuration, failed orders are retried at once.
      if (isChanged) this.plans.set(name, retryNow(this.planOf(name)));
    }
    if (isChanged) this.budget = endCaPause(this.budget);
    this.publish();
    this.look();
  }

  /** Starts ordering. Until then, only kept certificates are used. */
  start(): void {
    this.hasStarted = true;
    this.look();
  }

  private planOf(name: string): NamePlan {
    return this.plans.get(name) ?? newPlan(name);
  }

  /** Called when a client requests this name and `ask` allows it. Resolves with whether it has a certificate after an attempt. */
  async wantOnDemand(name: string): Promise<boolean> {
    if (this.options.config()?.ask == null || this.closing.signal.aborted) return false;
    if (!this.kept.wanted().has(name)) {
      if (!this.kept.admit(name)) return false;
      this.look();
    }
    await this.whenSettled([name]);
    return this.kept.get(name) !== undefined;
  }

  private publish(): void {
    void this.options.sink.put("automatic", this.kept.entries());
  }

  private rules({ challenges, stagingDirectory }: AutomaticConfig): PlanRules {
    return { challenges, hasStaging: stagingDirectory !== null };
  }

  /** Runs the steps that are due, and sets a timer for the next one. */
  private look(): void {
    clearTimeout(this.timer);
    const config = this.options.config();
    if (config === undefined || !this.hasStarted || this.closing.signal.aborted) return;
    const now = this.now();
    let next = now + LOOK_MS;
    for (const name of this.kept.wanted()) {
      if (this.running.has(name)) continue;
      const plan = this.planOf(name);
      this.reportRecall(plan, now);
      const step = nextStep(plan, this.budget, this.rules(config), now);
      if (step.do === "wait") next = Math.min(next, step.until);
      else if (this.running.size < MAX_ORDERS_AT_ONCE) this.run(name, step, config);
    }
    this.timer = setTimeout(() => this.look(), Math.max(MIN_LOOK_MS, next - now));
    this.timer.unref();
  }

  private reportRecall(plan: NamePlan, now: number): void {
    const { name, window } = plan;
    if (!isRecalled(plan, now)) {
      this.recalled.delete(name);
      return;
    }
    if (this.recalled.has(name)) return;
    this.recalled.add(name);
    const why = window?.explanation == null ? "" : `: ${window.explanation}`;
    const message = `the CA wants the certificate of ${name} replaced at once, as after a revocation${why}`;
    this.options.log.event("error", "paceline", message, "certificate");
  }

  private run(name: string, step: Exclude<PlanStep, { do: "wait" }>, config: AutomaticConfig): void {
    const work = step.do === "order" ? this.order(name, step, config) : this.askWindow(name, config);
    const ended = work
      .catch((error: Error) => {
        // After an internal error, wait before the next attempt.
        const failure = { kind: "local", message: error.message, onStaging: false } as const;
        this.failed(name, failure, config);
      })
      .finally(() => {
        this.running.delete(name);
        this.forced.delete(name);
        this.look();
      });
    this.running.set(name, ended);
  }

  private async askWindow(name: string, config: AutomaticConfig): Promise<void> {
    const kept = this.kept.get(name);
    const advice = kept === undefined ? undefined : await this.attempts.askRenewal(config, kept.certificatePem);
    const at = { now: this.now(), random: this.random() };
    this.plans.set(name, learnWindow(this.planOf(name), advice?.window, advice?.retryAfterMs, at));
    this.storePlan();
  }

  private async order(
    name: string,
    { challenges, onStaging }: Extract<PlanStep, { do: "order" }>,
    config: AutomaticConfig,
  ): Promise<void> {
    const { log, mayRenew } = this.options;
    const isOnDemand = !config.names.includes(name);
    const kept = this.kept.get(name);
    if (isOnDemand && kept !== undefined && mayRenew !== undefined && !(await mayRenew(name))) {
      this.kept.drop(name);
      return this.publish();
    }
    const directory = onStaging ? (config.stagingDirectory ?? config.directory) : config.directory;
    const plan = this.planOf(name);
    if (plan.isForced) this.forced.add(name);
    const begun = beginOrder(plan, this.budget, this.now());
    this.plans.set(name, begun.plan);
    this.budget = begun.budget;
    // Stored now, so that an order counts even if a crash interrupts it.
    const unstored = this.storePlan();
    if (unstored !== undefined) return this.failed(name, { kind: "local", message: unstored, onStaging }, config);
    const what = kept === undefined ? "orders a certificate for" : "renews the certificate of";
    log.event("info", "paceline", `${what} ${name} from ${new URL(directory).host}${onStaging ? " (staging)" : ""}`);
    try {
      const replaces = kept?.directory === directory ? kept.certificatePem : undefined;
      const obtained = await this.attempts.order(config, { name, challenges, directory, onStaging, replaces });
      this.budget = endCaPause(this.budget);
      this.issued(name, obtained, directory, onStaging);
    } catch (error) {
      if (!this.closing.signal.aborted) this.failed(name, orderFailureOf(error as Error, onStaging), config);
    }
  }

  private issued(name: string, obtained: Orders.Obtained, directory: string, onStaging: boolean): void {
    const { log } = this.options;
    const plan = this.planOf(name);
    if (onStaging) {
      this.plans.set(name, succeedOnStaging(plan, obtained.challenge));
      this.storePlan();
      return;
    }
    const validity = readCertificate(obtained.certificatePem);
    const { certificatePem, keyPem, challenge } = obtained;
    try {
      this.kept.add({ name, directory, certificatePem, keyPem });
    } catch (error) {
      const problem = `the certificate of ${name} cannot be stored, so the next start orders a new one: ${(error as Error).message}`;
      log.event("error", "paceline", problem, "certificate");
    }
    const issued = { notBefore: validity.notBefore, notAfter: validity.notAfter };
    const renewed = succeedOrder(plan, { issued, challenge }, this.now(), this.random());
    this.plans.set(name, renewed);
    this.storePlan();
    this.publish();
    const until = new Date(validity.notAfter).toISOString().slice(0, 16).replace("T", " ");
    const how = challenge === null ? "" : `, verified by ${challenge}`;
    log.event("info", "paceline", `${name} has a certificate of ${validity.issuer} until ${until} UTC${how}`);
  }

  private failed(name: string, failure: OrderFailure, config: AutomaticConfig): void {
    const { log } = this.options;
    const plan = this.planOf(name);
    const at = { now: this.now(), random: this.random() };
    const failed = failOrder(plan, this.budget, failure, this.rules(config), at);
    this.plans.set(name, failed.plan);
    this.budget = failed.budget;
    this.storePlan();
    const waitMs = nextOrderAt(failed.plan, failed.budget, at.now) - at.now;
    const next = `next attempt in ${formatDuration(Math.max(1_000, waitMs) / 1_000)}`;
    const isUsable = plan.issued !== null && plan.issued.notAfter > at.now;
    const effect = isUsable ? "the certificate in use stays" : `https does not work for ${name}`;
    log.event(
      isUsable ? "warn" : "error",
      "paceline",
      `no certificate for ${name}: ${failure.message}; ${effect}; ${next}`,
      "certificate",
    );
  }

  /** Returns the reason if the plan could not be stored. */
  private storePlan(): string | undefined {
    const now = this.now();
    const wanted = this.kept.wanted();
    for (const [name, plan] of this.plans) if (!wanted.has(name) && mayForget(plan, now)) this.plans.delete(name);
    try {
      this.files.storePlan([...this.plans.values()], this.budget);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** Orders now, because an operator wants it. Returns the names that are unknown. */
  renew(names: readonly string[]): string[] {
    const wanted = this.kept.wanted();
    const unknown = names.filter((name) => !wanted.has(name));
    if (unknown.length > 0) return unknown;
    for (const name of names.length === 0 ? wanted : names) this.plans.set(name, forceOrder(this.planOf(name)));
    this.look();
    return [];
  }

  /** Resolves when no order for any of the names is in progress, including a further order with another kind of challenge. */
  async whenSettled(names: readonly string[]): Promise<void> {
    while (!this.closing.signal.aborted) {
      const pending = names.flatMap((name) => this.running.get(name) ?? []);
      if (pending.length > 0) await Promise.all(pending);
      else if (names.some((name) => isInRound(this.planOf(name), this.now()))) await sleep(SETTLE_MS);
      else return;
    }
  }

  names(): AutomaticName[] {
    const config = this.options.config();
    const now = this.now();
    return [...this.kept.wanted()].sort().map((name) => {
      const plan = this.planOf(name);
      const nextAt = Math.max(now, nextOrderAt(plan, this.budget, now));
      const isOnDemand = config?.names.includes(name) !== true;
      return { plan, isOrdering: this.running.has(name), isRecalled: isRecalled(plan, now), isOnDemand, nextAt };
    });
  }

  get isClosed(): boolean {
    return this.closing.signal.aborted;
  }

  /** Aborts orders in progress. The next supervisor starts them again. */
  close(): void {
    if (this.isClosed) return;
    clearTimeout(this.timer);
    this.closing.abort();
    if (this.forced.size === 0) return;
    for (const name of this.forced) this.plans.set(name, forceOrder(this.planOf(name)));
    this.storePlan();
  }
}
