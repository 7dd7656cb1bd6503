/**
 * The configuration that a fleet in this process has in service, and the source that a reload reads: the fleet's own, or after a deploy the
 * deployed one, until the fleet's own path points elsewhere.
 */
import type { FleetSource } from "../config/find.js";
import {
  defaultName,
  deploySource,
  type LoadedFleet,
  type LoadRequest,
  loadFleet,
  ownFolderOf,
  pinSource,
  unusedConfig,
} from "../config/load.js";
import { ConfigError } from "../config/problems.js";
import type { DeployRequest } from "../control/api.js";
import type { FleetConfig } from "../core/model.js";
import type { Deployed } from "../run-dir/fleet-state.js";
import type { DeploySource } from "../supervisor-options.js";

type Loaded = { fleet: LoadedFleet } | { ok: false; problems: string[] };

const WITHOUT_CONFIG = "this fleet was started without a config; stop and start it to use the config";

export class ServedConfig {
  /** The source that reloads read, also after deploys. */
  readonly sources: SourceInForce;
  /** The configuration that all pools run. */
  inService: LoadedFleet;
  /** Why this start could not load its configuration; undefined once a reload has succeeded. */
  problem: string | undefined;
  /** The configuration that was read last. */
  private latest: LoadedFleet;
  private source: FleetSource;

  /**
   * @param deployed what a deploy of an earlier supervisor has put into service
   * @param onLoaded called with each configuration that is loaded for a reload
   */
  constructor(
    private readonly fleet: LoadedFleet,
    private readonly request: LoadRequest,
    deployed: Deployed | undefined,
    private readonly onLoaded: (config: FleetConfig) => void,
  ) {
    this.inService = this.latest = fleet;
    this.source = fleet.source;
    this.problem = fleet.problem;
    this.sources = new SourceInForce(
      request,
      () => this.source,
      deployed,
      (put) => {
        this.latest = put;
      },
    );
  }

  /** Loads the configuration for a reload. */
  async load() {
    const loaded = await this.sources.again();
    if (!("fleet" in loaded)) return loaded;
    const { config } = loaded.fleet;
    this.onLoaded(config);
    this.latest = loaded.fleet;
    const unused = unusedConfig(this.request, this.fleet.source);
    if (unused === undefined) return { ok: true as const, config };
    return { ok: true as const, config, note: `${unused} is not used: ${WITHOUT_CONFIG}` };
  }

  /** Loads the configuration only to compare it. */
  async peek() {
    const loaded = await this.sources.peek();
    return "fleet" in loaded ? { ok: true as const, config: loaded.fleet.config } : loaded;
  }

  /** Makes reloads read this configuration. Returns the reason if the fleet was not started from a value. */
  replace(config: object): string | undefined {
    if (this.source.kind !== "object") return "this fleet has no config as a value; change its config file and reload";
    this.source = { ...this.source, config };
    return undefined;
  }

  /** Called when all pools run the configuration that was read last. */
  reloaded(): void {
    this.inService = this.latest;
    this.problem = undefined;
  }
}

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
