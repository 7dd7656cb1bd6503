/** A small site from one config: an app, files, a Django project, gunicorn and a remote upstream, each under its routes. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, type TestContext, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { saying } from "./support/apps.js";
import { makeCertificate } from "./support/certificate.js";
import { type Project, ROOT, type RuntimeName, startFleet } from "./support/fleet.js";
import { needs } from "./support/processes.js";
import { RawConnection } from "./support/raw-http.js";

const API = `import os
def app(environ, start_response):
    body = f"{environ['SERVER_SOFTWARE'].split('/')[0]} {environ['PATH_INFO']} {os.environ['WORD']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`;
/** The settings of the example, for the host name of the route too. */
const SETTINGS = "from mysite.settings import *\nALLOWED_HOSTS = ['127.0.0.1', 'admin.example.com']\n";

async function startElsewhere(): Promise<{ url: string; cert: string } | undefined> {
  const certificate = makeCertificate("old.example");
  if (certificate === undefined) return undefined;
  const server = https.createServer(certificate, (request, response) => response.end(`elsewhere ${request.url}`));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, cert: certificate.cert };
}

/** The config, in a project with a running fleet. */
async function started(context: TestContext, runtime: RuntimeName) {
  const python = findPython("django");
  if (python === undefined) return context.skip("Django is not installed");
  needs(context, "gunicorn");
  const elsewhere = await startElsewhere();
  if (elsewhere === undefined) return context.skip("openssl is not installed");
  const data = mkdtempSync(join(tmpdir(), "pl-site-"));
  onTestFinished(() => rmSync(data, { recursive: true, force: true }));
  writeFileSync(join(data, "site_settings.py"), SETTINGS);
  const pools = {
    web: { app: "./app.js", instances: 2, routes: ["/"] },
    files: { static: "./public", instances: 1, routes: ["/static/"] },
    admin: {
      wsgi: "mysite.wsgi:application",
      python,
      instances: 2,
      routes: ["/admin/", "admin.example.com/"],
      cwd: join(ROOT, "examples/django"),
      env: { DJANGO_DATA: data, DJANGO_SETTINGS_MODULE: "site_settings", PYTHONPATH: data },
    },
    api: { command: ["gunicorn", "--bind", "unix:{socket}", "api:app"], instances: 1, routes: ["/api/"] },
    old: { proxy: elsewhere.url, proxyOptions: { ca: "./old.pem" }, routes: ["/old/"] },
  };
  const files = { "public/page.css": "a {}", "api.py": API, "old.pem": elsewhere.cert };
  const config = { pools, env: { WORD: "one" } };
  return { pools, project: await startFleet({ runtime, app: saying("the app"), files, config }) };
}

async function ask(port: number, target: string, host: string): Promise<string> {
  const connection = await RawConnection.open(port);
  connection.write(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  await connection.end();
  return connection.received;
}

async function pids(project: Project): Promise<Record<string, (number | null)[]>> {
  const { pools, balancers } = await project.ready();
  const all = [{ name: "balancers", instances: balancers }, ...pools];
  return Object.fromEntries(all.map(({ name, instances }) => [name, instances.map(({ pid }) => pid)]));
}

describe("a whole site", () => {
  const runtime = "bun";

  test("has each request answered by its pool, and each pool reloaded by itself", async (context) => {
    const { pools, project } = await started(context, runtime);
    const { port } = project;
    const status = await project.ready();
    expect(status.pools.map(({ name, kind, ready }) => [name, kind, ready])).toEqual([
      ["web", "app", 2],
      ["files", "static", 1],
      ["admin", "wsgi", 2],
      ["api", "command", 1],
      ["old", "proxy", 1],
    ]);
    for (const [host, target, expected] of [
      ["localhost", "/", "the app"],
      ["localhost", "/administration", "the app"],
      ["localhost", "/static/page.css", "a {}"],
      ["127.0.0.1", "/admin/login/", "Django administration"],
      ["admin.example.com", "/", "Nobody has signed yet."],
      ["admin.example.com", "/static/guestbook/page.css", "font-family"],
      ["localhost", "/api/things?n=1", "gunicorn /api/things one"],
      ["localhost", "/old/page?n=1", "elsewhere /old/page?n=1"],
    ] as const) {
      const received = await ask(port, target, host);
      expect(received, `${host}${target}`).toMatch(/^HTTP\/1\.1 200 /);
      expect(received, `${host}${target}`).toContain(expected);
    }

    project.writeConfig({ env: { WORD: "two" } });
    let before = await pids(project);
    for (const name of Object.keys(pools)) {
      const reloaded = await project.reload(name);
      expect(reloaded.code, reloaded.output).toBe(0);
      const after = await pids(project);
      for (const each of Object.keys(before)) {
        const kept = (after[each] ?? []).filter((pid) => before[each]?.includes(pid));
        expect(kept, `${each}, where ${name} was reloaded`).toEqual(each === name ? [] : before[each]);
      }
      before = after;
    }
    expect(await ask(port, "/api/", "localhost")).toContain("gunicorn /api/ two");

    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
  });
});
