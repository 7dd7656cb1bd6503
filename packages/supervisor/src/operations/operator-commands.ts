/**
 * The operator's commands. They are refused while the fleet is locked, recorded in the history, and saved before they are reported as done.
 */
import type {
  DeploySteering,
  OperationResult,
  ProgressListener,
  ScaleChange,
  SupervisorApi,
  TurnChange,
} from "../control/api.js";
import type { Caller } from "../core/history.js";
import type { Deploys } from "./deploys.js";
import type { FleetLocking } from "./fleet-locking.js";
import type { History } from "./history.js";
import type { ReloadQueue } from "./reload-queue.js";
import type { ScaleAndRestart } from "./scale-and-restart.js";
import type { SlotTurns } from "./slot-turns.js";
import type { StateKeeper } from "./state-keeper.js";

interface CommandParts {
  readonly operations: ScaleAndRestart;
  readonly reloads: ReloadQueue;
  readonly deploys: Deploys;
  readonly turns: SlotTurns;
  readonly history: History;
  readonly locking: FleetLocking;
  readonly state: StateKeeper;
}

interface CommandListeners {
  onReloading(): void;
  onReloadEnded(result: OperationResult, pool: string | undefined, by: Caller | undefined): void;
  /** Called when the fleet's configuration may have changed. */
  onConfigChanged(): void;
  /** Called when all pools run the config that was read last. */
  onConfigInService(): void;
}

export class OperatorCommands
  implements Pick<SupervisorApi, "scale" | "reload" | "restart" | "turn" | "deploy" | "rollback" | "lock" | "unlock">
{
  constructor(
    private readonly parts: CommandParts,
    private readonly listeners: CommandListeners,
  ) {}

  scale(...[pool, change, onProgress, by]: Parameters<SupervisorApi["scale"]>): Promise<OperationResult> {
    const { history, locking, operations } = this.parts;
    const begin = { command: "scale", target: pool, detail: sizeText(change), by } as const;
    const run = async (onStep: ProgressListener) => locking.refusal() ?? operations.scale(pool, change, onStep);
    return this.saved(history.record(begin, onProgress, run), onProgress);
  }

  async reload(...[pool, environment, onProgress, by]: Parameters<SupervisorApi["reload"]>): Promise<OperationResult> {
    const { history, locking, reloads, deploys } = this.parts;
    this.listeners.onReloading();
    const detail = environment === undefined ? undefined : "with another environment";
    const begin = { command: "reload", target: pool, detail, by } as const;
    const run = async (onStep: ProgressListener) =>
      locking.refusal() ?? deploys.refusal ?? reloads.run(pool, environment, onStep);
    const result = await this.saved(history.record(begin, onProgress, run), onProgress);
    this.listeners.onReloadEnded(result, pool, by);
    if (result.ok) deploys.last.forget(pool);
    this.listeners.onConfigChanged();
    if (result.ok && pool === undefined) this.listeners.onConfigInService();
    return result;
  }

  restart(...[target, onProgress, by]: Parameters<SupervisorApi["restart"]>): Promise<OperationResult> {
    const { history, locking, operations } = this.parts;
    const run = async (onStep: ProgressListener) => locking.refusal() ?? operations.restart(target, onStep);
    return this.saved(history.record({ command: "restart", target, by }, onProgress, run), onProgress);
  }

  turn(...[change, onProgress, by]: Parameters<SupervisorApi["turn"]>): Promise<OperationResult> {
    const { history, locking, turns, deploys } = this.parts;
    const begin = { command: change.do, target: change.name, detail: turnText(change), by } as const;
    const busy = () => (change.do === "drain" ? deploys.refusalToDrain(change.name) : undefined);
    const run = async (onStep: ProgressListener) => locking.refusal() ?? busy() ?? turns.change(change, onStep);
    return this.saved(history.record(begin, onProgress, run), onProgress);
  }

  async deploy(...[request, onProgress, by]: Parameters<SupervisorApi["deploy"]>): Promise<OperationResult> {
    const { history, locking, deploys, state } = this.parts;
    const begin = { command: "deploy", detail: request.config ?? request.dir, by } as const;
    const run = async (onStep: ProgressListener) => locking.refusal() ?? deploys.run(request, onStep);
    const result = await history.record(begin, onProgress, run);
    state.changed();
    await state.saved();
    this.reportUnsaved(onProgress);
    this.listeners.onConfigChanged();
    if (result.ok) this.listeners.onConfigInService();
    return result;
  }

  async rollback(...[release, onProgress, by]: Parameters<SupervisorApi["rollback"]>): Promise<OperationResult> {
    const { history, locking, deploys, state } = this.parts;
    const run = async (onStep: ProgressListener) => locking.refusal() ?? deploys.rollback(release, onStep);
    const result = await history.record({ command: "rollback", detail: release, by }, onProgress, run);
    state.changed();
    await state.saved();
    this.reportUnsaved(onProgress);
    this.listeners.onConfigChanged();
    return result;
  }

  steerDeploy(what: DeploySteering): OperationResult {
    const { locking, deploys } = this.parts;
    return locking.refusal() ?? deploys.steer(what);
  }

  lock(reason: string, by?: Caller): OperationResult {
    const record = this.parts.history.begin({ command: "lock", detail: reason, by });
    const result = this.parts.locking.lockFor(reason, by);
    record.end(result);
    return result;
  }

  unlock(by?: Caller): OperationResult {
    const record = this.parts.history.begin({ command: "unlock", by });
    const result = this.parts.locking.unlock(by);
    record.end(result);
    return result;
  }

  /** Waits until the state is written. If this supervisor were killed before, a change reported as done would be lost. */
  private async saved(operation: Promise<OperationResult>, onProgress: ProgressListener): Promise<OperationResult> {
    const result = await operation;
    await this.parts.state.saved();
    this.reportUnsaved(onProgress);
    return result;
  }

  private reportUnsaved(onProgress: ProgressListener): void {
    const { problem } = this.parts.state;
    if (problem !== null)
      onProgress(`warning: ${problem}; if the supervisor ends now, the next one finds an older state`);
  }
}

function turnText(change: TurnChange): string | undefined {
  if (change.do === "weight") return `to ${change.weight}`;
  return change.do === "drain" && change.isForced ? "by force" : undefined;
}

/** Returns for example `to 4` or `by -1`. */
function sizeText(change: ScaleChange): string {
  return "by" in change ? `by ${change.by}` : `to ${change.instances}`;
}
