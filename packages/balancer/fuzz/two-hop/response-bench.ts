/** A real balancer in front of an upstream that responds with any given bytes. */
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { BalancerProcess, type Runtime } from "../../test/support/balancer-process.js";

export const MARKER = "GET /marker HTTP/1.1\r\nHost: a\r\n\r\n";
const MARKER_RESPONSE = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nmarker";

export class ResponseBench {
  /** The response to any request but the marker; FIN follows. */
  private pieces: readonly Buffer[] = [];

  private constructor(
    private readonly directory: string,
    private readonly balancer: BalancerProcess,
    private readonly server: net.Server,
  ) {}

  static async start(runtime: Runtime): Promise<ResponseBench> {
    const directory = mkdtempSync(path.join(tmpdir(), "paceline-fuzz-"));
    const socketPath = path.join(directory, "upstream");
    const server = net.createServer((socket) => bench.serve(socket));
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    const balancer = await BalancerProcess.start(runtime);
    await balancer.follow({ "web.1#1": socketPath });
    const bench = new ResponseBench(directory, balancer, server);
    return bench;
  }

  get port(): number {
    return this.balancer.port;
  }

  respondWith(pieces: readonly Buffer[]): void {
    this.pieces = pieces;
  }

  /** Requests here have no body, and the balancer sends one at a time. */
  private serve(socket: net.Socket): void {
    let received = "";
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      received += bytes.toString("latin1");
      if (!received.endsWith("\r\n\r\n")) return;
      const isMarker = received.startsWith("GET /marker ");
      received = "";
      if (isMarker) socket.write(MARKER_RESPONSE);
      else void this.respond(socket);
    });
  }

  private async respond(socket: net.Socket): Promise<void> {
    for (const piece of this.pieces) {
      if (socket.destroyed) return;
      socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.end();
  }

  async stop(): Promise<void> {
    await this.balancer.stop();
    this.server.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
