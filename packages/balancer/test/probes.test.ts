/** Probes over sockets: the balancer responds itself, even on kept connections, and counts nothing. */
import path from "node:path";
import { describe, expect, it } from "vitest";
import { BalancerProcess, pool, RUNTIMES } from "./support/balancer-process.js";
import { exchangeRaw, RawClient } from "./support/raw-client.js";
import { HELLO, respondEach, ScriptedUpstream } from "./support/scripted-upstream.js";

const PROBES = { live: "/-/live", ready: "/-/ready" };

describe.each(RUNTIMES)("probes on %s", (runtime) => {
  it("get their responses from the balancer, whatever its pools do", async () => {
    const balancer = await BalancerProcess.start(runtime, { idleDrainMs: 60_000 });
    const socket = path.join(balancer.directory, "web.sock");
    const upstream = await ScriptedUpstream.listen(socket, respondEach(HELLO), "http1");
    const head = (target: string, method = "GET", fields = "") =>
      `${method} ${target} HTTP/1.1\r\nHost: shop.example\r\n${fields}\r\n`;
    const ask = async (target: string, method = "GET", fields = "") =>
      (await exchangeRaw(balancer.port, head(target, method, `Connection: close\r\n${fields}`))).received;
    const served = [pool("web", ["shop.example/"], { "web.1#1": socket })];
    await balancer.follow({}, served);
    // By default every path belongs to the app.
    expect(await ask("/-/ready")).toContain("hello");

    const only = [{ ...pool("web", ["shop.example/"], {}), awaited: true }];

    await balancer.follow({}, only, { probes: PROBES });
    expect(await ask("/-/live")).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\n200 OK\n$/s);
    expect(await ask("/-/ready")).toMatch(/^HTTP\/1\.1 503 /);
    expect(await ask("/-/ready", "HEAD")).toMatch(/^HTTP\/1\.1 503 .*\r\n\r\n$/s);

    await balancer.follow({}, served, { probes: PROBES });
    // One connection for all: probes before, between and after other requests.
    const client = await RawClient.connect(balancer.port);
    await client.send(["/-/ready", "/a", "/-/live?x", "/b", "/-/ready"].map((target) => head(target)).join(""));
    const statuses = () => client.received.match(/HTTP\/1\.1 \d+/g) ?? [];
    await client.until(() => statuses().length === 5, "five responses");
    expect(statuses()).toEqual(Array.from({ length: 5 }, () => "HTTP/1.1 200"));
    expect(upstream.received.match(/^GET \S+/gm)).toEqual(["GET /-/ready", "GET /a", "GET /b"]);
    // A body that a probe does not need ends the connection, as after any response that the balancer generates itself.
    expect(await ask("/-/ready", "GET", "Content-Length: 3\r\n\r\nabc")).toMatch(/^HTTP\/1\.1 200 /);
    expect(await ask("/-/ready", "POST")).toContain("hello");
    expect(await ask("/-/ready/more")).toContain("hello");
    const { requestsTotal } = await balancer.reports(({ requestsTotal }) => requestsTotal >= 5);
    expect(requestsTotal).toBe(5);

    await balancer.follow({}, served, { probes: PROBES, stopping: true });
    expect(await ask("/-/ready")).toMatch(/^HTTP\/1\.1 503 .*Retry-After/s);
    expect(await ask("/c")).toContain("hello");
    balancer.say({ type: "drain", deadlineMs: 60_000 });
    await balancer.hears((message) => message.type === "applied" && message.listening === false);
    await client.send(head("/-/ready"));
    expect((await client.ended()).split("HTTP/1.1 ").at(-1)).toMatch(/^503 .*\r\nConnection: close\r\n/s);
    client.destroy();
    await upstream.close();
    await balancer.stop();
  });
});
