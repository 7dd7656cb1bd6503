/** A real instance in a separate process that reports what it saw. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type Runtime, runtimePath } from "../../test/support/balancer-process.js";

/** A request as an instance saw it. */
export interface Seen {
  instance: string;
  /** Null if Node does not know it. */
  method: string | null;
  url: string;
  host: string | null;
  length: number;
  /** SHA-1 of the body, in hexadecimal. */
  hash: string;
  /** The body is complete. */
  isWhole: boolean;
}

const ECHO = fileURLToPath(new URL("./echo.mjs", import.meta.url));
const START_TIMEOUT_MS = 20_000;

export class Instance {
  private constructor(
    readonly path: string,
    private readonly child: ChildProcess,
  ) {}

  static async start(runtime: Runtime, path: string): Promise<Instance> {
    const child = spawn(runtimePath(runtime), [ECHO, path, runtime], { stdio: ["pipe", "pipe", "inherit"] });
    await once(child.stdout as NodeJS.ReadableStream, "data", { signal: AbortSignal.timeout(START_TIMEOUT_MS) });
    child.stdout?.resume();
    return new Instance(path, child);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGKILL");
    await once(this.child, "exit");
  }
}
