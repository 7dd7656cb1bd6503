/** Slow clients of pools with one request per instance: other clients are served, and nothing remains. */
import { readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, type TestContext, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { type Project, RUNTIMES, type RuntimeName, startFleet } from "./support/fleet.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const python = findPython();
const KINDS = ["wsgi", "command"];
const UPLOAD_BYTES = 300_000;
const HALF = "x".repeat(UPLOAD_BYTES / 2);
/** More than the sockets of both ends hold. */
const LARGE_BYTES = 24_000_000;

/** Both return the length of the request body. */
const FILES = {
  "slow_app.py": `
def application(environ, start_response):
    length = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"y" * ${LARGE_BYTES} if environ["PATH_INFO"].endswith("/large") else b"%d bytes" % length]
`,
  "serve.mjs": `
import { createServer } from "node:http";
const server = createServer((request, response) => {
  let length = 0;
  request.on("data", (piece) => { length += piece.length; });
  request.on("end", () => response.end(request.url.endsWith("/large") ? "y".repeat(${LARGE_BYTES}) : length + " bytes"));
});
server.listen(process.argv[2]);
process.on("SIGTERM", () => server.close());
`,
};

function start(context: TestContext, runtime: RuntimeName): Promise<Project> {
  if (python === undefined) context.skip("Python 3.9 or newer is not installed");
  return startFleet({
    runtime,
    app: "",
    files: FILES,
    config: {
      balancer: { limits: { bufferBytes: 65_536, maxSpoolBytes: 100_000_000, upstreamConnectTimeoutMs: 20_000 } },
      pools: {
        wsgi: { wsgi: "slow_app", python, instances: 1, routes: ["/wsgi/"] },
        command: {
          command: [process.execPath, "serve.mjs", "{socket}"],
          instances: 1,
          maxInFlight: 1,
          routes: ["/command/"],
        },
      },
    },
  });
}

async function send(project: Project, text: string): Promise<RawConnection> {
  const connection = await RawConnection.open(project.port);
  connection.write(text);
  return connection;
}

const post = (kind: string, length: number, body: string) =>
  `POST /${kind}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${length}\r\n\r\n${body}`;

/** Returns the balancer's open spool files, and visible ones. */
async function spool(project: Project): Promise<string[]> {
  const folder = join(project.runDir, "spool");
  const pid = (await project.status()).balancers[0]?.pid;
  const open = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      return [];
    }
  });
  return [...readdirSync(folder), ...open];
}

describe.each(RUNTIMES)("slow clients, on %s", (runtime) => {
  test("hold no instance, wait no longer than others let them, and leave nothing in the spool", async (context) => {
    const project = await start(context, runtime);
    const uploads = await Promise.all(
      KINDS.flatMap((kind) => [kind, kind]).map((kind) => send(project, post(kind, UPLOAD_BYTES, HALF))),
    );
    const held = await project.statusWhere("the uploads to be received", ({ pools, balancers }) => {
      const [balancer] = balancers;
      return pools.every(({ receiving }) => receiving === 2) && balancer?.spoolBytes === 4 * HALF.length;
    });
    expect(held.pools.map(({ instances }) => instances[0]?.inFlight)).toEqual([0, 0]);
    const { output } = await project.cli(["status", "--wide"]);
    expect(output).toContain(" · receiving 2\n");
    expect(output).toContain("spool: 0.6 MB of slow clients' bodies on disk\n");
    const downloads = await Promise.all(
      KINDS.map((kind) => send(project, `GET /${kind}/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)),
    );
    for (const download of downloads) download.pause();
    for (const kind of KINDS) expect((await get(project.port, `/${kind}/`)).body).toBe("0 bytes");
    await project.statusWhere("the downloads to wait", ({ pools }) => pools.every(({ sending }) => sending === 1));
    const refused = await send(project, post("wsgi", 90_000_000, ""));
    expect(await refused.until(/\r\n\r\n./)).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n/);
    const tooLarge = await send(project, post("command", 100_000_001, ""));
    expect(await tooLarge.until(/\r\n\r\n./)).toMatch(/^HTTP\/1\.1 413 /);

    for (const upload of uploads) upload.write(HALF);
    for (const upload of uploads) expect(await upload.until(/bytes/)).toMatch(/\r\n\r\n(?:b\r\n)?300000 bytes/);
    for (const download of downloads) {
      download.resume();
      expect(await download.end()).toBe("closed");
      expect(download.received.length).toBeGreaterThan(LARGE_BYTES);
    }
    await waitFor("the spool to be empty", async () => (await spool(project)).length === 0);
    await project.statusWhere("nothing to be held", ({ pools, balancers }) => {
      return balancers[0]?.spoolBytes === 0 && pools.every(({ receiving, sending }) => receiving + sending === 0);
    });

    // A killed balancer leaves nothing either.
    const { pid } = (await project.status()).balancers[0] as { pid: number };
    const last = await send(project, post("wsgi", UPLOAD_BYTES, HALF));
    await waitFor("a file in the spool", async () => (await spool(project)).length === 1);
    process.kill(pid, "SIGKILL");
    await last.end();
    await project.statusWhere("the next balancer", ({ balancers: [next] }) => {
      return next?.state === "ready" && next.pid !== null && next.pid !== pid;
    });
    expect((await get(project.port, "/wsgi/")).body).toBe("0 bytes");
    expect(await spool(project)).toEqual([]);
    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
  });
});
