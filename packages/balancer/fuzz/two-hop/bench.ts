/** A real balancer in front of a Bun and a Node instance, reused for all cases. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { BalancerProcess, RUNTIMES, type Runtime } from "../../test/support/balancer-process.js";
import { FUZZ_LIMITS } from "../read/limits.js";
import { exchangeStream } from "./client.js";
import { Instance, type Seen } from "./instance.js";

const MARKER = Buffer.from("GET /paceline-fuzz-log HTTP/1.1\r\nHost: log\r\n\r\n");
const MAX_MARKERS = 20;

export class Bench {
  private constructor(
    private readonly directory: string,
    private readonly balancer: BalancerProcess,
    private readonly instances: Instance[],
  ) {}

  static async start(runtime: Runtime): Promise<Bench> {
    const directory = mkdtempSync(path.join(tmpdir(), "paceline-fuzz-"));
    const instances = await Promise.all(RUNTIMES.map((kind) => Instance.start(kind, path.join(directory, kind))));
    const balancer = await BalancerProcess.start(runtime, FUZZ_LIMITS);
    await balancer.follow(Object.fromEntries(RUNTIMES.map((kind, i) => [`web.${i}#1`, path.join(directory, kind)])));
    return new Bench(directory, balancer, instances);
  }

  get port(): number {
    return this.balancer.port;
  }

  /**
   * Returns what the instances saw since the last call. The request uses the normal path over recently used connections, so
   * leftover bytes in them would break it visibly.
   */
  async takeLogs(): Promise<Map<string, Seen[]> | string> {
    const logs = new Map<string, Seen[]>();
    for (let i = 0; logs.size < RUNTIMES.length; i++) {
      if (i === MAX_MARKERS) return "an instance is not asked any more";
      const { reading } = await exchangeStream(this.port, [MARKER], { toHead: [false], awaited: 1, mustEnd: false });
      const [response] = reading.messages;
      if (response?.status !== 200) return `the next request was answered with ${response?.status ?? "nothing"}`;
      let told: { instance: string; log?: Seen[] };
      try {
        told = JSON.parse(response.body);
      } catch {
        return `the next request got an answer that is not its own: ${response.body}`;
      }
      if (told.log === undefined) return `the next request got an answer that is not its own: ${response.body}`;
      logs.set(told.instance, [...(logs.get(told.instance) ?? []), ...told.log]);
    }
    return logs;
  }

  async stop(): Promise<void> {
    await this.balancer.stop();
    for (const instance of this.instances) await instance.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
