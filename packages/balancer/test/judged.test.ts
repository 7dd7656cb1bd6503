/** A pool under judgement: what each balancer counts for each upstream and route class, and that it stops with the judgement. */
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { BalancerProcess, SETUPS } from "./support/balancer-process.js";
import { exchangeRaw } from "./support/raw-client.js";
import { ScriptedUpstream } from "./support/scripted-upstream.js";

const END = "Host: a\r\nConnection: close\r\n";

/** The status of the response to each target; if there is none, the connection is lost before the response or during it. */
const RESPONSES: Record<string, string> = {
  "/": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
  "/api/slow": "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
  "/api/broken": "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n",
  "/cut": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
  "/api/begun": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
  "/api/silent": "",
};

describe.each(SETUPS)("a pool under judgement on %s over %s", (runtime, protocol) => {
  it("has its responses and losses counted by upstream and route class, until the judgement is over", async () => {
    const balancer = await BalancerProcess.start(runtime);
    balancer.protocol = protocol;
    let onSilent = () => {};
    const upstream = await ScriptedUpstream.listen(
      path.join(balancer.directory, "web.1#1.sock"),
      ({ socket, received }) => {
        const [method, target = ""] =
          received
            .match(/(GET|HEAD|POST) \S+/g)
            ?.at(-1)
            ?.split(" ") ?? [];
        if (!received.endsWith(method === "POST" ? "abc" : "\r\n\r\n")) return;
        const response = RESPONSES[target];
        if (response === undefined) return socket.destroy();
        if (target === "/api/silent") return onSilent();
        socket.write(method === "HEAD" ? response.replace(/ok$/, "") : response, () => {
          if (target === "/cut") socket.destroy();
        });
      },
      protocol,
    );
    try {
      const follow = (judged: boolean) => {
        const upstreams = [{ id: "web.1#1", name: "web.1", socket: upstream.path }];
        return balancer.follow({}, [{ name: "web", routes: ["/", "/api/"], judged, upstreams }]);
      };
      const ask = (method: string, target: string) => {
        const body = method === "POST" ? "Content-Length: 3\r\n\r\nabc" : "\r\n";
        return exchangeRaw(balancer.port, `${method} ${target} HTTP/1.1\r\n${END}${body}`);
      };
      /** The client disconnects when the upstream has the request, or after the first bytes of the response. */
      const leave = async (method: string, target: string, body = "\r\n") => {
        const received = new Promise<void>((resolve) => {
          onSilent = resolve;
        });
        const client = net.connect(balancer.port, "127.0.0.1");
        client.write(`${method} ${target} HTTP/1.1\r\n${END}${body}`);
        await (target === "/api/silent" ? received : once(client, "data"));
        client.destroy();
      };
      const reported = (fits: (requests: number) => boolean) =>
        balancer.reports(({ upstreams: [only] }) => fits(only?.requestsTotal ?? 0));

      await follow(false);
      await ask("GET", "/");
      expect((await reported((requests) => requests === 1)).upstreams[0]?.judged).toBeUndefined();

      await follow(true);
      await ask("GET", "/");
      await ask("HEAD", "/");
      await ask("POST", "/");
      await ask("GET", "/api/slow");
      await ask("POST", "/api/broken");
      await ask("GET", "/cut");
      await ask("POST", "/lost");
      // Abandoned requests are in one report, which may come before the next request is handled.
      let abandoned: number[] = [];
      const counted = balancer.reports(({ upstreams: [only] }) => {
        const { lost = 0, classes = [] } = only?.judged ?? {};
        for (const each of classes) if (each.abandoned) abandoned = [each.routeClass, each.abandoned.length];
        return lost === 2 && classes.reduce((sum, { requests }) => sum + requests, 0) === 6 && abandoned.length > 0;
      });
      await leave("GET", "/api/begun");
      await leave("POST", "/api/silent", "Content-Length: 3\r\n\r\nabc");
      const { upstreams } = await counted;
      // There is one request, so the list is one pair of a bucket and its count.
      expect(abandoned).toEqual([3, 2]);
      expect(upstreams[0]?.judged?.classes).toMatchObject([
        { routeClass: 0, requests: 2, errors: 0 },
        { routeClass: 1, requests: 1, errors: 0 },
        { routeClass: 2, requests: 2, errors: 0 },
        { routeClass: 3, requests: 1, errors: 1 },
      ]);
      await follow(false);
      await ask("GET", "/");
      expect((await reported((requests) => requests === 11)).upstreams[0]?.judged).toBeUndefined();
    } finally {
      await upstream.close();
      await balancer.stop();
    }
  });
});
