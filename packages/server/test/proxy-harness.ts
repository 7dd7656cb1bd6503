/** An upstream with raw bytes, behind the plain library or one of our instances. */
import { spawn } from "node:child_process";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import type { ProxyOptions } from "../src/kinds/proxy/settings.js";
import { eventually, fixture, Program, programOf, ScriptedSupervisor, type Target, Wire, within } from "./harness.js";

/** Accepts connections; the test controls them. */
export class RawUpstream {
  readonly connections: Wire[] = [];

  /** Accepts the server's connections until the end of the test. */
  constructor(private readonly server: Server) {
    const take = (socket: Socket) => this.connections.push(new Wire(socket));
    server.on("connection", take);
    onTestFinished(() => {
      server.off("connection", take);
      for (const connection of this.connections) connection.destroy();
    });
  }

  static async listen(): Promise<RawUpstream> {
    const server = await listenAnywhere();
    onTestFinished(() => void server.close());
    return new RawUpstream(server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Returns the accepted connection with this index, from 0. */
  connection(index: number): Promise<Wire> {
    return eventually(`connection ${index} to the upstream`, () => this.connections[index]);
  }

  close(): void {
    this.server.close();
    for (const connection of this.connections) connection.destroy();
  }
}

async function listenAnywhere(): Promise<Server> {
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** The proxy in front of an upstream. */
export interface Front {
  target: Target;
  output: string[];
  /** Resolves when the process has exited. */
  exited: Promise<unknown>;
  /** Opens another connection to the proxy, which is closed after the test. */
  client(): Wire;
}

function frontOf(target: Target, output: string[], exited: Promise<unknown>): Front {
  const client = () => {
    const wire = new Wire(target);
    onTestFinished(() => wire.destroy());
    return wire;
  };
  return { target, output, exited, client };
}

/** Starts only the library. */
export async function startBare(upstream: RawUpstream): Promise<Front> {
  const child = spawn(programOf("node"), ["--no-deprecation", fixture("bare-http-proxy.mjs"), upstream.url], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => output.push(line));
  const exited = new Promise<void>((resolve) => child.on("close", () => resolve()));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  const line = await eventually("the bare library to listen", () => output.find((it) => it.startsWith("listening")));
  return frontOf({ host: "127.0.0.1", port: Number(/\d+$/.exec(line)?.[0]) }, output, exited);
}

async function spawnInstance(url: string, options: ProxyOptions) {
  const supervisor = new ScriptedSupervisor();
  await supervisor.listen();
  const program = supervisor.spawn("node", "behaviours.mjs", { proxy: { target: url, options } });
  const end = async () => {
    await program.end();
    await supervisor.close();
  };
  const ready = Promise.race([supervisor.hears("ready"), program.exited]);
  return { front: frontOf(supervisor.target, program.output, program.exited), ready, end };
}

/** Starts an instance as the supervisor does, on its unix socket. */
export async function startInstance(url: string, options: ProxyOptions = {}): Promise<Front> {
  const { front, ready, end } = await spawnInstance(url, options);
  onTestFinished(end);
  await ready;
  return front;
}

/** An instance without options, and its upstream, for all tests of a file: a start takes longer than most tests. */
async function startShared() {
  const server = await listenAnywhere();
  const { front, ready, end } = await spawnInstance(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {});
  await ready;
  return { server, front, end };
}

let shared: ReturnType<typeof startShared> | undefined;

/** Stops the shared instance, in `afterAll` of the file. */
export async function endShared(): Promise<void> {
  const ending = await shared;
  shared = undefined;
  await ending?.end();
  ending?.server.close();
}

/** Runs `serve --proxy`. */
export async function startAlone(url: string): Promise<Front> {
  const program = new Program("node", ["--proxy", url, "--port", "0"]);
  onTestFinished(() => program.end());
  const line = await program.line(/^listening on /);
  return frontOf({ host: "127.0.0.1", port: Number(/\d+$/.exec(line)?.[0]) }, program.output, program.exited);
}

export interface Both {
  upstream: RawUpstream;
  front: Front;
}

export async function withBare(): Promise<Both> {
  const upstream = await RawUpstream.listen();
  return { upstream, front: await startBare(upstream) };
}

/** Runs with an instance that has these options, or with the instance that all tests without options share. */
export async function withOurs(options?: ProxyOptions): Promise<Both> {
  if (options === undefined) {
    shared ??= startShared();
    const { server, front } = await shared;
    return { upstream: new RawUpstream(server), front };
  }
  const upstream = await RawUpstream.listen();
  return { upstream, front: await startInstance(upstream.url, options) };
}

export const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
export const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Returns the matching bytes of the upstream's first connection. */
export async function upstreamGets({ upstream }: Pick<Both, "upstream">, pattern: RegExp): Promise<string> {
  return await (await upstream.connection(0)).gets(pattern);
}

/** Returns a client that has sent `request` and received the upstream's `answer`. */
export async function answered({ upstream, front }: Both, request: string, response: string): Promise<Wire> {
  const client = front.client();
  client.send(request);
  const wire = await upstream.connection(0);
  await wire.gets(/\r\n\r\n/);
  wire.send(response);
  return client;
}

let exchanges = 0;

/** Runs one exchange; after that, all earlier bytes have been received. */
export async function exchange({ upstream, front }: Both): Promise<void> {
  const client = front.client();
  const line = `GET /after${++exchanges} HTTP/1.1\r\n`;
  client.send(`${line}Host: a\r\n\r\n`);
  // The proxy may use a kept connection or a new one.
  const wire = await eventually("the exchange", () =>
    upstream.connections.find(({ received }) => received.includes(line)),
  );
  wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter");
  await client.gets(/after$/);
  client.destroy();
}

export { within };
