/** Which source a reload reads: the fleet's own, or that of the last deploy until the fleet's own path leads elsewhere. */
import type { FleetSource } from "../config/find.js";
import { deploySource, type LoadedFleet, type LoadRequest, loadFleet, ownFolderOf, pinSource } from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import type { DeployRequest } from "../control/api.js";
import type { Deployed } from "../run-dir/fleet-state.js";
import type { DeploySource } from "../supervisor.js";

type Loaded = { fleet: LoadedFleet } | { ok: false; problems: string[] };

export class SourceInForce implements DeploySource {
  /** What the last deploy loaded. */
  private loaded: LoadedFleet | undefined;

  /** @param own returns the fleet's own source; @param onPut called with the fleet that a deploy has put in service */
  constructor(
    private readonly request: LoadRequest,
    private readonly own: () => FleetSource,
    private deployed: Deployed | undefined,
    private readonly onPut: (fleet: LoadedFleet) => void,
  ) {}

  /** Whether a deploy is in service, and the fleet's own path still leads where it led then. */
  get isDeployed(): boolean {
    return this.deployed !== undefined && this.deployed.ownFolder === this.ownFolder();
  }

  /** Loads what is in force. */
  again(): Promise<Loaded> {
    if (this.isDeployed) return this.read(this.deployed as Deployed);
    this.deployed = undefined;
    return attempt(() => loadFleet({ ...this.request, source: this.own() }));
  }

  /** Loads the same, only to compare it. */
  peek(): Promise<Loaded> {
    if (this.isDeployed) return this.read(this.deployed as Deployed);
    return attempt(() => loadFleet({ ...this.request, source: this.own() }));
  }

  async load({ dir, config, envFile }: DeployRequest) {
    let deployed: Deployed;
    let former: Deployed;
    try {
      const own = this.own();
      const named = { ...(dir !== undefined && { dir }), ...(config !== undefined && { config }) };
      const ownFolder = this.ownFolder();
      const common = { dir: dir ?? null, envFile: envFile ?? null, ownFolder };
      deployed = { ...common, source: deploySource(own, named) };
      former = this.isDeployed
        ? (this.deployed as Deployed)
        : { dir: null, envFile: null, ownFolder, source: pinSource(own) };
    } catch (error) {
      return refused(error);
    }
    const loaded = await this.read(deployed);
    if (!("fleet" in loaded)) return loaded;
    this.loaded = loaded.fleet;
    return { ok: true as const, config: loaded.fleet.config, deployed, former };
  }

  set(deployed: Deployed | undefined): Deployed | undefined {
    this.deployed = deployed && { ...deployed, ownFolder: this.ownFolder() };
    if (this.loaded !== undefined && deployed !== undefined) this.onPut(this.loaded);
    this.loaded = undefined;
    return this.deployed;
  }

  private read({ source, dir, envFile }: Deployed): Promise<Loaded> {
    const named = { ...(dir !== null && { dir }), ...(envFile !== null && { envFile }) };
    return attempt(() => loadFleet({ ...this.request, ...named, source: source as FleetSource, own: this.own() }));
  }

  /** Empty if nothing is there, such as a link to a release that was removed. */
  private ownFolder(): string {
    try {
      return ownFolderOf(this.own(), this.request.cwd);
    } catch {
      return "";
    }
  }
}

async function attempt(load: () => Promise<LoadedFleet>): Promise<Loaded> {
  try {
    return { fleet: await load() };
  } catch (error) {
    return refused(error);
  }
}

function refused(error: unknown): { ok: false; problems: string[] } {
  if (!(error instanceof ConfigError)) throw error;
  return { ok: false, problems: error.message.split("\n") };
}
