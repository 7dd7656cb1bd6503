import { describe, expect, test } from "vitest";
import type { PoolConfig } from "../../core/model.js";
import { union, WatchPlan } from "./watch-plan.js";

const pool = (name: string, source: string, envFiles: string[] = [], kind = "app") =>
  ({ name, kind, source, envFiles, cwd: `/in/${name}` }) as PoolConfig;

const plan = new WatchPlan(
  {
    pools: [
      pool("web", "/site/app.ts", ["/site/.env"]),
      pool("docs", "/site/docs/server.js", ["/site/.env", "/etc/docs.env"]),
      pool("help", "/site/docs/help.js"),
      pool("lib", "/site/node_modules/lib/.x/app.js"),
      pool("api", "/api/src/app.ts"),
      pool("files", "/site/public", [], "static"),
      pool("book", "/book/start.py", [], "fapws"),
      pool("shop", "shop:create_app('/x')", [], "wsgi"),
      pool("live", "main:app", [], "asgi"),
      pool("graph", "/conf/graphite.wsgi:app", [], "wsgi"),
    ],
  },
  "/site/paceline.config.ts",
  "/site/run",
);

describe("what a change means", () => {
  test.each([
    // The innermost app's folder.
    ["/site/app.ts", ["web"]],
    ["/site/lib/x.js", ["web"]],
    ["/site", ["web"]],
    ["/site/docs/server.js", ["docs", "help"]],
    ["/site/docs", ["docs", "help"]],
    ["/site/docs2/x.js", ["web"]],
    ["/site/node_modules/lib/.x/lib/a.js", ["lib"]],
    ["/api/src/app.ts", ["api"]],
    ["/book/views/page.py", ["book"]],
    ["/in/shop/models.py", ["shop"]],
    ["/in/live/main.py", ["live"]],
    ["/in/graph/lib.py", ["graph"]],
    ["/conf/graphite.wsgi", ["graph"]],
    ["/book/views/__pycache__/page.cpython-311.pyc", []],
    // Named files, in any place.
    ["/site/paceline.config.ts", "all"],
    ["/site/.env", ["web", "docs"]],
    ["/etc/docs.env", ["docs"]],
    // Not code.
    ["/site/.git/index", []],
    ["/site/.gitignore", []],
    ["/site/lib/.cache/x.js", []],
    ["/site/node_modules/m/x.js", []],
    ["/site/lib/node_modules/m/x.js", []],
    ["/site/run", []],
    ["/site/run/control.sock", []],
    ["/site/runner.js", ["web"]],
    ["/site/app.log", []],
    ["/site/x.sqlite-wal", []],
    ["/site/app.ts~", []],
    ["/site/#app.ts#", []],
    ["/site/catalog.js", ["web"]],
    ["/site/public", []],
    ["/site/public/index.html", []],
    ["/site/publications.js", ["web"]],
    // Belongs to no pool.
    ["/api/README.md", []],
    ["/sitemap.js", []],
    ["/etc/other.env", []],
  ])("%s: %j", (path, pools) => {
    expect(plan.poolsOf(path)).toEqual(pools);
  });

  test("adds up", () => {
    expect(union(["a"], ["b", "a"])).toEqual(["a", "b"]);
    expect(union(["a"], "all")).toBe("all");
    expect(union("all", [])).toBe("all");
  });
});
