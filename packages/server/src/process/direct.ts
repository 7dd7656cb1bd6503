/** An instance in direct mode: serves inherited sockets for the fleet's addresses beside its own socket, which is only for checks. */
import type { TcpAddress } from "@paceline/wire";
import type { RunningServer } from "../http1/running-server.js";
import type { App } from "../shared/app.js";
import type { ServerStats } from "./request-counter.js";
import { type ServeOptions, serve } from "./serve.js";

const FIRST_FD = 3;

/**
 * Serves these addresses, whose sockets are fd 3 and up.
 * @throws ServerError `cannot-listen`
 */
export async function serveDirectly(
  app: App,
  addresses: readonly TcpAddress[],
  own: RunningServer,
  options: Pick<ServeOptions, "limits" | "onNotice">,
): Promise<RunningServer> {
  const servers = [own];
  for (const [at, { host, port }] of addresses.entries())
    servers.push(await serve(app, { ...options, address: { kind: "inherited", fd: FIRST_FD + at, host, port } }));
  // However this process ends, an incomplete response must not look whole.
  process.once("exit", () => {
    for (const server of servers) server.closeNow();
  });
  return together(servers);
}

/** Returns several servers as one. */
function together(servers: readonly RunningServer[]): RunningServer {
  const sum = (count: (server: RunningServer) => number) => servers.reduce((total, server) => total + count(server), 0);
  const [own] = servers as [RunningServer];
  return {
    address: own.address,
    inFlight: () => sum((server) => server.inFlight()),
    activity: () => sum((server) => server.activity()),
    onNext(wake) {
      let isAwake = false;
      const once = () => {
        if (!isAwake) wake();
        isAwake = true;
      };
      for (const server of servers) server.onNext(once);
    },
    takeStats() {
      const all = servers.map((server) => server.takeStats());
      const [first] = all as [ServerStats];
      const total = (key: "requestsTotal" | "errorsTotal" | "inFlight") =>
        all.reduce((sum, each) => sum + each[key], 0);
      return {
        ...first,
        requestsTotal: total("requestsTotal"),
        errorsTotal: total("errorsTotal"),
        inFlight: total("inFlight"),
        latency: all.flatMap(({ latency }) => latency),
      };
    },
    // Called when a drain starts: another process of the slot accepts from here on, or nobody does.
    markResponsesClose() {
      for (const server of servers) {
        server.markResponsesClose();
        server.leaveSocket?.();
      }
    },
    stopAccepting() {
      for (const server of servers) server.stopAccepting();
    },
    closeNow() {
      for (const server of servers) server.closeNow();
    },
  };
}
