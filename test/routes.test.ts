/** One fleet with four pools: each request reaches its pool by host and path, and a reload of one pool does not affect the others. */
import { describe, expect, test } from "vitest";
import { RUNTIMES, sharedFleet } from "./support/fleet.js";
import { RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

/** Returns its request and its own name. */
const FETCH_APP = `export default { fetch(request) {
  const { pathname, search } = new URL(request.url);
  const prefix = request.headers.get("x-forwarded-prefix") ?? "-";
  return new Response([process.env.PACELINE_POOL, pathname + search, prefix, process.env.WORD].join(" "));
} };
`;
const NODE_APP = `export default (request, response) => {
  const prefix = request.headers["x-forwarded-prefix"] ?? "-";
  response.end([process.env.PACELINE_POOL, request.url, prefix, process.env.WORD].join(" "));
};
`;

const POOLS = {
  web: { app: "./app.js", instances: 2, routes: ["/"] },
  files: { static: "./public", instances: 1, routes: ["/static/"] },
  shop: { app: "./shop.js", instances: 1, routes: ["/shop/", "*.example.com/shop"], stripPrefix: true },
  docs: { app: "./docs/server.js", runtime: "node", instances: 2, routes: ["docs.example.com/"] },
};

async function ask(port: number, target: string, host: string): Promise<string> {
  const connection = await RawConnection.open(port);
  connection.write(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  await connection.end();
  const response = connection.received;
  const status = /^HTTP\/1\.1 (\d+)/.exec(response)?.[1];
  return `${status} ${response.slice(response.indexOf("\r\n\r\n") + 4).trim()}`;
}

describe.each(RUNTIMES)("routes on %s", (runtime) => {
  const once = testOnce(runtime);
  const files = { "shop.js": NODE_APP, "docs/server.js": NODE_APP, "public/css/a.css": "a {}" };
  const fleet = sharedFleet({ runtime, app: FETCH_APP, files, config: { pools: POOLS, env: { WORD: "one" } } });

  test("lead each request to its pool, which sees the path that was matched", async () => {
    const { port } = fleet();
    for (const [host, target, response] of [
      ["localhost", "/", "200 web / - one"],
      ["localhost", "/a/../b?q=%2F", "200 web /b?q=%2F - one"],
      ["localhost", "/static/css/a.css", "200 a {}"],
      ["localhost", "/static/css/../css/%61.css?v=2", "200 a {}"],
      ["localhost", "/static/app.js", "404 Not Found"],
      ["localhost", "/statics", "200 web /statics - one"],
      ["localhost", "/shopping", "200 web /shopping - one"],
      ["localhost", "/shop", "200 shop / /shop one"],
      ["localhost", "/shop/cart?n=1", "200 shop /cart?n=1 /shop one"],
      ["localhost", "/%73hop//evil.example/x", "200 shop /evil.example/x /shop one"],
      ["b.example.com", "/shop/x", "200 shop /x /shop one"],
      ["b.example.com", "/x", "200 web /x - one"],
      ["docs.example.com", "/", "200 docs / - one"],
      ["Docs.Example.com.:8080", "/shop/x?y", "200 docs /shop/x?y - one"],
      ["localhost", "http://docs.example.com/z", "200 docs /z - one"],
      ["localhost", "/../shop", "400 400 Bad Request"],
      ["localhost", "/shop%2Fcart", "400 400 Bad Request"],
      ["localhost", "/a%00", "400 400 Bad Request"],
    ] as const) {
      expect(await ask(port, target, host), `${host}${target}`).toBe(response);
    }
  });

  once("stay as they are where another pool is reloaded, and so do its processes", async () => {
    const project = fleet();
    const pids = async () => {
      const { pools, balancers } = await project.ready();
      const list = (instances: { pid: number | null }[]) => instances.map(({ pid }) => pid);
      const all: Record<string, (number | null)[]> = { balancers: list(balancers) };
      for (const { name, instances } of pools) all[name] = list(instances);
      return all;
    };
    const before = await pids();
    project.writeConfig({
      pools: { ...POOLS, docs: { ...POOLS.docs, routes: ["help.example.com/"] } },
      env: { WORD: "two" },
    });
    const reloaded = await project.reload("docs");
    expect(`${reloaded.code} ${reloaded.output}`).toMatch(/^0 (.*\n)+docs: reload done, 2 of 2\n$/);
    const after = await pids();
    expect(after).toEqual({ ...before, docs: [expect.any(Number), expect.any(Number)] });
    expect(before.docs?.filter((pid) => after.docs?.includes(pid))).toEqual([]);
    expect(await ask(project.port, "/x", "help.example.com")).toBe("200 docs /x - two");
    expect(await ask(project.port, "/x", "docs.example.com")).toBe("200 web /x - one");
    expect(await ask(project.port, "/shop/x", "docs.example.com")).toBe("200 shop /x /shop one");
  });

  once("that lead nowhere are answered 404, and two pools cannot have the same one", async () => {
    const project = fleet();
    const pools = { ...POOLS, web: { ...POOLS.web, routes: "/web" } };
    project.writeConfig({ pools });
    expect(await project.reload("web")).toMatchObject({ code: 0 });
    expect(await ask(project.port, "/", "localhost")).toBe("404 404 Not Found");
    expect(await ask(project.port, "/web/x", "localhost")).toBe("200 web /web/x - one");
    project.writeConfig({ pools: { ...pools, other: { app: "./app.js", routes: "/%77eb/" } } });
    const checked = await project.cli(["check"]);
    expect(checked.code).toBe(2);
    expect(checked.output).toContain('pools.other.routes: the pool web already has the route "/web/"');
  });
});
