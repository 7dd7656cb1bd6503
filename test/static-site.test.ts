/** A folder of files in practice: the command of the example, without a config, and together with an app under its route. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { saying } from "./support/apps.js";
import { endExample, startExample } from "./support/example.js";
import { Project, ROOT, RUNTIMES, startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

const PAGE = readFileSync(join(ROOT, "examples/static-site/public/index.html"), "utf8");

describe.each(RUNTIMES)("a folder of files on %s", (runtime) => {
  const once = testOnce(runtime);

  test("is served by the example's command", async () => {
    const project = await startExample("static-site", runtime);
    const status = await project.status();
    expect(status.pools).toMatchObject([{ name: "web", kind: "static", wanted: 1, ready: 1 }]);
    expect(await get(project.port)).toMatchObject({ status: 200, body: PAGE });
    await endExample(project);
  });

  once("is served without a config", async () => {
    const project = await Project.make({ runtime, app: "", files: { "public/a.txt": "a file" } });
    const args = ["start", "--static", "./public", "--detach", "--listen", `127.0.0.1:${project.port}`];
    const started = await project.cli([...args, "--runtime", runtime], { env: project.startEnvironment() });
    expect(started).toMatchObject({ code: 0 });
    expect((await get(project.port, "/a.txt")).body).toBe("a file");
    expect((await project.cli(["status", "--wide"])).output).toMatch(/^web {2}static {2}1\/1 ready/m);
    expect((await project.reload()).code).toBe(0);
    expect((await get(project.port, "/a.txt")).body).toBe("a file");
  });

  once("says in one line what is wrong with it", async () => {
    const project = await Project.make({ runtime, app: "" });
    const gone = await project.cli(["start", "--static", "./gone", "--detach"]);
    expect(gone).toMatchObject({ code: 2 });
    expect(gone.output).toContain("there is no such folder");
    const both = await project.cli(["start", "./app.js", "--static", ".", "--detach"]);
    expect(both).toMatchObject({ code: 2 });
    expect(both.output).toContain("--static already names a folder of files: omit ./app.js");
  });

  test("has its route beside an app's, over a lane and over HTTP/1.1", async () => {
    const project = await startFleet({
      runtime,
      app: saying("the app"),
      files: { "public/css/site.css": "body {}", "public/index.html": "the index" },
      config: {
        pools: {
          web: { app: "./app.js", instances: 2 },
          lane: { static: "./public", routes: ["/lane/"], protocol: "lane" },
          http1: { static: "./public", routes: ["/http1/"], protocol: "http1" },
        },
      },
    });
    const status = await project.status();
    expect(status.pools).toMatchObject([
      { name: "web", kind: "app", wanted: 2 },
      { name: "lane", kind: "static", wanted: 1 },
      { name: "http1", kind: "static", wanted: 1 },
    ]);
    expect((await get(project.port, "/")).body).toBe("the app");
    for (const route of ["/lane", "/http1"]) {
      expect((await get(project.port, `${route}/css/site.css`)).body).toBe("body {}");
      expect((await get(project.port, `${route}/`)).body).toBe("the index");
      expect((await get(project.port, `${route}/css`)).headers.get("location")).toBe("./css/");
      expect((await get(project.port, `${route}/gone.css`)).status).toBe(404);
      expect((await get(project.port, `${route}files`)).body).toBe("the app");
    }
  });
});
