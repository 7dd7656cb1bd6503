/** Automatic certificates from Let's Encrypt's own test CA, which refuses nonces and knows names already, as real CAs do. */
import { readdirSync, statSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { Project } from "./support/fleet.js";
import { type Pebble, startPebble } from "./support/pebble.mjs";
import { freePort } from "./support/ports.js";
import { hasProgram, needs } from "./support/processes.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

/** The key is in base64url. */
const ACCOUNT = { keyId: "kid-1", key: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" };

interface Handshake {
  serial: string;
  issuer: string;
  response: string;
}

/** Sends a request over TLS as a client of `name`. Rejects unless the certificate is valid for it. */
function request(port: number, name: string, ca: string): Promise<Handshake> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: "127.0.0.1", servername: name, ca, ALPNProtocols: ["http/1.1"] });
    let response = "";
    socket.setTimeout(20_000, () => socket.destroy(new Error("no response within 20 s")));
    socket.on("error", reject);
    socket.on("secureConnect", () => socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`));
    socket.setEncoding("utf8").on("data", (part: string) => {
      response += part;
    });
    socket.on("end", () => {
      const { serialNumber, issuer } = socket.getPeerCertificate();
      resolve({ serial: serialNumber ?? "", issuer: issuer?.CN ?? "", response });
      socket.destroy();
    });
  });
}

interface Shown {
  names: string[];
  state: string;
  issuer: string | null;
  lastError: { message: string } | null;
}

describe.each(["bun", "node"] as const)("on %s", (runtime) => {
  let pebble: Pebble;
  let project: Project;
  let [tlsPort, httpPort, askPort] = [0, 0, 0];
  const cleanUps: (() => Promise<void>)[] = [];
  const atEnd = (cleanUp: () => Promise<void>) => cleanUps.unshift(cleanUp);
  const isThere = hasProgram("pebble") && hasProgram("openssl");

  const configOf = (more: Record<string, unknown> = {}) => ({
    listen: [`https://127.0.0.1:${tlsPort}`, `127.0.0.1:${httpPort}`],
    tls: {
      automatic: {
        ...{ directory: pebble.directory, caFile: pebble.caFile, names: ["shop.example", "www.shop.example"] },
        ...{ ask: `http://127.0.0.1:${askPort}/ask`, ...(runtime === "node" && { externalAccount: ACCOUNT }), ...more },
      },
    },
  });
  const certs = async (): Promise<Shown[]> => JSON.parse((await project.cli(["certs", "--json"])).output).certificates;

  beforeAll(async () => {
    if (!isThere) return;
    [tlsPort, httpPort, askPort] = [await freePort(), await freePort(), await freePort()];
    const asking = http.createServer(({ url = "" }, response) => {
      response.statusCode = url === "/ask?domain=customer.example" ? 200 : 404;
      response.end();
    });
    await new Promise<void>((resolve) => asking.listen(askPort, "127.0.0.1", resolve));
    atEnd(async () => void asking.close());
    const env = { PEBBLE_WFE_NONCEREJECT: "30", PEBBLE_AUTHZREUSE: "50" };
    // On Node the CA finds nothing with tls-alpn-01, so that http-01 follows, and it requires an account.
    const other = { externalAccountBindingRequired: true, externalAccountMACKeys: { [ACCOUNT.keyId]: ACCOUNT.key } };
    const toCa = runtime === "bun" ? { tlsPort } : { tlsPort: await freePort(), config: other };
    pebble = await startPebble({ ...toCa, httpPort, env }, atEnd);
    project = await Project.make({ runtime, app: HELLO, instances: 1, config: configOf() }, atEnd);
    await project.start();
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });

  test("a first start gets certificates, renews them, and serves them over an outage and a start", async (context) => {
    needs(context, "pebble");
    const ca = await pebble.root();
    const details = () => pebble.output().slice(-2_000);
    const valid = (name: string) =>
      waitFor(`a certificate for ${name}`, () => request(tlsPort, name, ca).catch(() => undefined), { details });
    const first = await valid("shop.example");
    // The CA connects to a balancer.
    expect(await project.events()).toMatch(/balancer.1 is ready.*orders a certificate for/s);
    expect(first.response).toContain("200 OK");
    expect((await valid("www.shop.example")).issuer).toContain("Pebble");
    // Balancers have a certificate a moment before its order is finished.
    const states = async () => (await certs()).map(({ names, state }) => `${names} ${state}`);
    await expect.poll(states).toEqual(["shop.example valid", "www.shop.example valid"]);
    const shown = await project.cli(["certs"]);
    expect(shown.output).toMatch(/^NAME +SOURCE +ISSUER +STATE +LEFT +RENEWED IN\nshop.example +automatic +Pebble/);
    const folder = join(project.runDir, "tls/automatic");
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);

    // On one connection for the whole time, and on new ones.
    const renewed = await project.cli(["certs", "renew", "shop.example"]);
    expect(renewed).toMatchObject({ code: 0, output: expect.stringContaining("1 certificate was renewed") });
    const second = await valid("shop.example");
    expect(second.serial).not.toBe(first.serial);

    await pebble.stop();
    const failed = await project.cli(["certs", "renew", "shop.example"]);
    expect(failed).toMatchObject({ code: 1, output: expect.stringContaining("the connection was refused") });
    expect((await request(tlsPort, "shop.example", ca)).serial).toBe(second.serial);
    expect((await project.cli(["certs"])).output).toContain("the connection was refused");

    await project.stop();
    await project.start();
    expect((await request(tlsPort, "shop.example", ca)).serial).toBe(second.serial);
  });

  test("a name on demand gets one if the URL allows it, and others fail", async (context) => {
    needs(context, "pebble");
    await pebble.start();
    const ca = await pebble.root();
    await project.cli(["certs", "renew"]);
    const refused = await request(tlsPort, "stranger.example", ca).catch((error: Error) => error.message);
    // Not another name's certificate.
    expect(refused).toMatch(/unrecognized name/i);
    // On a busy machine a handshake may wait too long for the order.
    const served = await waitFor(
      "a certificate on demand",
      () => request(tlsPort, "customer.example", ca).catch(() => undefined),
      { details: () => pebble.output().slice(-2_000) },
    );
    expect(served.response).toContain("200 OK");
    expect((await certs()).map(({ names }) => names[0])).toEqual([
      "customer.example",
      "shop.example",
      "www.shop.example",
    ]);
  });

  testOnce(runtime)("status, events and explain say why there is no certificate", async (context) => {
    needs(context, "pebble");
    onTestFinished(() => project.writeConfig(configOf()));
    project.writeConfig(configOf({ names: ["blocked.example"], directory: pebble.directory.replace("/dir", "/none") }));
    expect((await project.reload()).code).toBe(0);
    await project.statusWhere(
      "a trouble",
      ({ certificates }) => certificates?.problems.some(({ isBad }) => isBad) === true,
    );
    expect(await project.events()).toContain("no certificate for blocked.example");
    expect((await project.cli(["explain"])).output).toMatch(/https does not work for\s+blocked.example/);
    expect((await project.cli(["status"])).output).toContain("https does not work for");
  });
});
