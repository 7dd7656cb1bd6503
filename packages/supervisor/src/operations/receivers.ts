/**
 * The receivers outside the fleet: alerts and an OpenTelemetry collector. Their code is loaded with the first configuration that has them.
 */
import type { RecordedSpans } from "@paceline/wire";
import type { AlertStatus, LogStatus, OperationResult, ProgressListener } from "../control/api.js";
import type { EventLog } from "../logs/event-log.js";
import type { Family } from "../metrics/exposition.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { Alerts } from "./alerts.js";
import type { OtlpExporter } from "./otlp-exporter.js";

interface ReceiverSources {
  log: EventLog;
  configs: PoolConfigs;
  runner: FleetRunner;
  environment: Record<string, string>;
  runDir: string;
  version: string;
  isStopping(): boolean;
  families(): Family[];
  problem(): string | null;
  logStatus(): LogStatus | null;
}

const NO_ALERTS = {
  ok: false,
  code: "failed",
  message: "the configuration has no alerts; see docs/alerts.md",
} as const;

export class Receivers {
  private alerts: Alerts | undefined;
  private exporter: OtlpExporter | undefined;
  private unwatch = () => {};

  constructor(private readonly sources: ReceiverSources) {}

  /** Applies the configuration in service. */
  async follow(): Promise<void> {
    const { alerts, otlp } = this.sources.configs.fleet;
    if (alerts !== undefined && this.alerts === undefined) await this.loadAlerts();
    if (otlp !== undefined && this.exporter === undefined) await this.loadExporter();
    if (this.sources.isStopping()) return;
    this.alerts?.follow();
    this.exporter?.follow();
  }

  private async loadAlerts(): Promise<void> {
    const { log, configs, runner, environment, runDir, isStopping, problem, logStatus } = this.sources;
    const { Alerts, Outages } = await import("./alerts.js");
    if (isStopping() || this.alerts !== undefined) return;
    this.alerts = new Alerts({ log, config: () => configs.fleet, environment: () => environment, runDir });
    const outages = new Outages({
      ...{ log, problem, logStatus, fleet: () => runner.fleet, isRunning: () => !isStopping() },
      getsRequests: (pool) => configs.routes.get(pool) !== undefined,
    });
    const end = runner.watch(() => outages.observe());
    this.unwatch = () => {
      end();
      outages.close();
    };
  }

  private async loadExporter(): Promise<void> {
    const { log, configs, version, families, isStopping } = this.sources;
    const { OtlpExporter } = await import("./otlp-exporter.js");
    if (isStopping() || this.exporter !== undefined) return;
    this.exporter = new OtlpExporter({
      ...{ log, version, families, startedAt: Date.now() },
      ...{ config: () => configs.fleet.otlp, fleet: () => configs.fleet.name },
    });
  }

  /** Receives sampled requests. */
  heard(recorded: RecordedSpans): void {
    this.exporter?.heard(recorded);
  }

  alertStatus(): AlertStatus[] {
    return this.alerts?.status() ?? [];
  }

  async testAlerts(onProgress: ProgressListener): Promise<OperationResult> {
    return this.alerts?.test(onProgress) ?? NO_ALERTS;
  }

  close(): void {
    this.unwatch();
    this.alerts?.close();
    this.exporter?.close();
  }
}
