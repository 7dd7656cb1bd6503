/** The source that a reload reads: the fleet's own, or after a deploy the deployed one, until the fleet's own path points elsewhere. */
import type { FleetSource } from "../config/find.js";
import {
  defaultName,
  deploySource,
  type LoadedFleet,
  type LoadRequest,
  loadFleet,
  ownFolderOf,
  pinSource,
} from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import type { DeployRequest } from "../control/api.js";
import type { Deployed } from "../run-dir/fleet-state.js";
import type { DeploySource } from "../supervisor-options.js";

type Loaded = { fleet: LoadedFleet } | { ok: false; problems: string[] };

export class SourceInForce implements DeploySource {
  /** The fleet that the last deploy loaded. */
  private loaded: LoadedFleet | undefined;

  /**
   * @param own returns the fleet's own source
   * @param onPut called with the fleet that a deploy has put into service
   */
  constructor(
    private readonly request: LoadRequest,
    private readonly own: () => FleetSource,
    private deployed: Deployed | undefined,
    private readonly onPut: (fleet: LoadedFleet) => void,
  ) {}

  /** Whether a deploy is in service, and the fleet's own path still points to the same place as at the deploy. */
  get isDeployed(): boolean {
    return this.deployed !== undefined && this.deployed.ownFolder === this.ownFolder();
  }

  /** Loads the current source. */
  again(): Promise<Loaded> {
    if (this.isDeployed) return this.read(this.deployed as Deployed);
    this.deployed = undefined;
    return attempt(() => loadFleet({ ...this.request, source: this.own() }));
  }

  /** Loads the current source only to compare it. */
  peek(): Promise<Loaded> {
    if (this.isDeployed) return this.read(this.deployed as Deployed);
    return attempt(() => loadFleet({ ...this.request, source: this.own() }));
  }

  /**
   * @param name the fleet's name, which stays
   * @param wanted aborts the load
   */
  async load(request: DeployRequest, name: string, wanted?: AbortSignal) {
    const loaded = await this.peekRelease(request, name, wanted);
    if (!loaded.ok) return loaded;
    const { fleet, ...rest } = loaded;
    this.loaded = fleet;
    return rest;
  }

  /** Loads the source that a deploy names, only to compare it. */
  async peekRelease({ dir, config, envFile }: DeployRequest, name: string, wanted?: AbortSignal) {
    let deployed: Deployed;
    let former: Deployed;
    try {
      const own = this.own();
      const ownFolder = this.ownFolder();
      const inForce = this.isDeployed ? (this.deployed as Deployed) : undefined;
      former = inForce ?? { dir: null, envFile: null, ownFolder, source: pinSource(own) };
      const paths = { ...(dir !== undefined && { dir }), ...(config !== undefined && { config }) };
      // Without a named release, deploys the source that a reload would read.
      const isSame = dir === undefined && config === undefined && inForce !== undefined;
      const base = isSame ? inForce : { dir: dir ?? null, envFile: null, source: deploySource(own, paths) };
      deployed = { ...base, envFile: envFile ?? base.envFile, ownFolder, name };
    } catch (error) {
      return refused(error);
    }
    const loaded = await this.read({ ...deployed, name: undefined }, wanted);
    if (!("fleet" in loaded)) return loaded;
    const { fleet } = named(loaded, name);
    const other = loaded.fleet.config.name;
    const isNamed = other !== name && other !== defaultName(this.own());
    const note = !isNamed ? undefined : `the release's name ${other} is ignored: the fleet stays ${name}`;
    return { ok: true as const, config: fleet.config, fleet, deployed, former, note };
  }

  set(deployed: Deployed | undefined): Deployed | undefined {
    this.deployed = deployed && { ...deployed, ownFolder: this.ownFolder() };
    if (this.loaded !== undefined && deployed !== undefined) this.onPut(this.loaded);
    this.loaded = undefined;
    return this.deployed;
  }

  private async read({ source, dir, envFile, name }: Deployed, wanted?: AbortSignal): Promise<Loaded> {
    const paths = { ...(dir !== null && { dir }), ...(envFile !== null && { envFile }) };
    const load = () => loadFleet({ ...this.request, ...paths, source: source as FleetSource, own: this.own(), wanted });
    const loaded = await attempt(load);
    return name !== undefined && "fleet" in loaded ? named(loaded, name) : loaded;
  }

  /** Empty if the path does not exist, for example a link to a release that was removed. */
  private ownFolder(): string {
    try {
      return ownFolderOf(this.own(), this.request.cwd);
    } catch {
      return "";
    }
  }
}

function named({ fleet }: { fleet: LoadedFleet }, name: string): { fleet: LoadedFleet } {
  return { fleet: { ...fleet, config: { ...fleet.config, name } } };
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
