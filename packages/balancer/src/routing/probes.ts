/** The probe paths: requests of upstream proxies and orchestrators, to which the balancer itself responds. */
import type { Snapshot } from "@paceline/wire";
import type { RequestHead } from "../http1/request-head.js";

const QUESTION = 63;

export class Probes {
  /** Undefined if there is no such path. */
  private live: Uint8Array | undefined;
  private ready: Uint8Array | undefined;
  private isReady = false;
  private isDraining = false;
  /** The pools that have had an upstream since this process has known them. */
  private served = new Set<string>();

  /** Whether a probe path is configured. */
  get areOn(): boolean {
    return this.live !== undefined || this.ready !== undefined;
  }

  follow({ probes = {}, pools, stopping = false }: Pick<Snapshot, "probes" | "pools" | "stopping">): void {
    this.live = bytesOf(probes.live);
    this.ready = bytesOf(probes.ready);
    // Clients cannot reach internal pools.
    const reachable = pools.filter(({ internalRoots }) => internalRoots === undefined);
    const serving = reachable.filter(({ upstreams }) => upstreams.some(({ outOfTurn }) => outOfTurn !== "drained"));
    const known = new Set(reachable.map(({ name }) => name));
    this.served = new Set([...this.served, ...serving.map(({ name }) => name)].filter((name) => known.has(name)));
    // A pool that has failed, or that restarts after it has served, does not take the others out of service.
    const isStarting = reachable.some(({ name, awaited = false }) => awaited && !this.served.has(name));
    this.isReady = serving.length > 0 && !isStarting && !stopping;
  }

  /** Called when a drain starts: from now on, the balancer is not ready. */
  drain(): void {
    this.isDraining = true;
  }

  /** Returns the status of the response to a probe; 0 if the request is not a probe. */
  statusOf(head: RequestHead): 0 | 200 | 503 {
    const isLive = isAt(this.live, head);
    if (!isLive && !isAt(this.ready, head)) return 0;
    if (head.method !== "GET" && !head.isHead) return 0;
    return isLive || (this.isReady && !this.isDraining) ? 200 : 503;
  }
}

function bytesOf(path: string | undefined): Uint8Array | undefined {
  return path === undefined ? undefined : Buffer.from(path, "latin1");
}

/** Whether the target is this path, with or without a query. */
function isAt(path: Uint8Array | undefined, { target, targetStart, targetEnd }: RequestHead): boolean {
  if (path === undefined) return false;
  const { length } = path;
  const end = targetStart + length;
  if (end > targetEnd || (end < targetEnd && target[end] !== QUESTION)) return false;
  // Compares from the end, where paths differ most often.
  for (let i = length - 1; i > 0; i--) if (target[targetStart + i] !== path[i]) return false;
  return true;
}
