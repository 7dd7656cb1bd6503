/** An instance on a lane behind a real balancer, both with this test as their supervisor. */
import { type ChildProcess, spawn } from "node:child_process";
import net, { type Server, type Socket } from "node:net";
import { join } from "node:path";
import { BALANCER_LIMITS, type BalancerLimits, LineFramer } from "@paceline/wire";
import {
  type ChannelMessage,
  eventually,
  type Program,
  programOf,
  type RuntimeName,
  ScriptedSupervisor,
  type Standalone,
} from "./harness.js";

/** Started as a program, because the server's tests do not import its source. */
const BALANCER = new URL("../../supervisor/dist/programs/balancer/bin.js", import.meta.url).pathname;

const LIMITS: BalancerLimits = {
  ...BALANCER_LIMITS,
  maxHeadBytes: 65_536,
  maxBodyBytes: 10_000_000,
  maxConnections: 1000,
  maxQueue: 100,
  bodyTimeoutMs: 60_000,
  minBodyBytesPerSecond: 0,
  keepAliveTimeoutMs: 60_000,
  upstreamResponseTimeoutMs: 60_000,
  sendTimeoutMs: 60_000,
  tunnelIdleTimeoutMs: 60_000,
  upstreamIdleTimeoutMs: 60_000,
  maxSpoolBytes: 0,
  idleDrainMs: 300,
};

interface BoundHandle {
  fd: number;
  getsockname(out: { port: number }): number;
  close(): void;
}

/** A balancer with one pool, which contains the instance of a ScriptedSupervisor until a test changes that. */
export class LaneBalancer {
  readonly target = { host: "127.0.0.1", port: 0 };
  readonly heard: ChannelMessage[] = [];
  output = "";
  private version = 0;
  private child: ChildProcess | undefined;
  private socket: Socket | undefined;
  private bound: BoundHandle | undefined;
  private readonly link: Server = net.createServer((socket) => {
    this.socket = socket;
    socket.on("error", () => {});
    const lines = new LineFramer((line) => this.heard.push(JSON.parse(line)));
    socket.on("data", (chunk) => lines.push(chunk));
  });

  constructor(private readonly instanceSocket: string) {}

  async start(runtime: RuntimeName, directory: string): Promise<void> {
    const path = join(directory, "balancer-channel.sock");
    await new Promise<void>((resolve) => this.link.listen(path, resolve));
    // Binds without listening, like the supervisor on Node.
    const { _createServerHandle: bind } = net as unknown as {
      _createServerHandle(host: string, port: number, family: number): BoundHandle;
    };
    this.bound = bind("127.0.0.1", 0, 4);
    this.bound.getsockname(this.target);
    this.child = spawn(programOf(runtime), [BALANCER], {
      stdio: ["ignore", "pipe", "pipe", this.bound.fd],
      env: {
        PATH: process.env.PATH,
        PACELINE_CHANNEL: path,
        PACELINE_TOKEN: "secret",
        PACELINE_ATTEMPT: "1",
        PACELINE_SPEC: JSON.stringify({ orphanGraceMs: 60_000, drainTimeoutMs: 5000, reportEveryMs: 100 }),
        PACELINE_POOL: "balancer",
        PACELINE_INSTANCE: "balancer.1",
        PACELINE_INDEX: "1",
        PACELINE_GENERATION: "1",
      },
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (text) => {
        this.output += text;
      });
    }
    await this.hears("hello");
    this.say({ type: "welcome" });
    await this.follow(true);
  }

  /** Resolves when the balancer has added or removed the instance. */
  async follow(hasInstance: boolean): Promise<void> {
    this.version++;
    const { version, instanceSocket: socket } = this;
    const upstreams = hasInstance ? [{ id: "web.1#1", name: "web.1", socket, protocol: "lane" }] : [];
    this.say({
      type: "snapshot",
      version,
      listen: [{ fd: 3, address: "127.0.0.1" }],
      pools: [{ name: "web", routes: ["/"], upstreams }],
      trustedProxies: [],
      limits: LIMITS,
    });
    await this.hears("applied", (message) => message.version === version);
  }

  hears(type: string, accepts: (message: ChannelMessage) => boolean = () => true): Promise<ChannelMessage> {
    return eventually(`a ${type} of the balancer (${this.output})`, () =>
      this.heard.find((it) => it.type === type && accepts(it)),
    );
  }

  private say(message: object): void {
    this.socket?.write(`${JSON.stringify(message)}\n`);
  }

  async close(): Promise<void> {
    const { child } = this;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await exited;
    }
    this.socket?.destroy();
    this.link.close();
    this.bound?.close();
  }
}

export interface OverLane extends Standalone {
  target: LaneBalancer["target"];
  supervisor: ScriptedSupervisor;
  balancer: LaneBalancer;
  program: Program;
}

/** Starts an instance that speaks the lane protocol, behind a balancer on the same runtime; `target` is the balancer's address. */
export async function startOverLane(
  runtime: RuntimeName,
  app = "behaviours.mjs",
  spec: object = {},
  environment: NodeJS.ProcessEnv = {},
): Promise<OverLane> {
  const supervisor = new ScriptedSupervisor();
  await supervisor.listen();
  const balancer = new LaneBalancer(supervisor.target.path);
  const program = supervisor.spawn(runtime, app, { protocol: "lane", ...spec }, environment);
  const close = async () => {
    await program.end();
    await balancer.close();
    await supervisor.close();
  };
  try {
    const ready = await supervisor.hears("ready");
    if (ready.protocol !== "lane") throw new Error(`it speaks ${ready.protocol}`);
    await balancer.start(runtime, supervisor.directory);
    return { program, supervisor, balancer, target: balancer.target, close };
  } catch (error) {
    await close();
    throw error;
  }
}
