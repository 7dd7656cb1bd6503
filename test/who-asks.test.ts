/** The table of docs/security.md for every kind of pool, both upstream protocols and runtimes, behind nginx and HAProxy. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { CLIENT_FIELDS, DECIDING_FIELDS } from "../packages/wire/dist/index.js";
import { Project, RUNTIMES } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { hasProgram } from "./support/processes.js";
import {
  APPS,
  exchange,
  fieldOf,
  haproxyConfig,
  nginxConfig,
  poolsOf,
  type Seen,
  seenIn,
  startElsewhere,
  startFront,
  type Way,
} from "./support/who-asks.js";

/** A trusted proxy's address, and the client as seen by a kind without client information. */
const PROXY = "127.0.0.2";
const python = findPython();

const ASGI_SERVERS = ["uvicorn", "hypercorn"] as const;

/** Returns the interpreters that have each of them. */
function asgiPythons(): Partial<Record<(typeof ASGI_SERVERS)[number], string>> {
  const found = ASGI_SERVERS.map((name) => [name, findPython(name)] as const);
  return Object.fromEntries(found.filter(([, path]) => path !== undefined));
}

const NAMES = Object.keys(CLIENT_FIELDS).map((name) => name.replace("*", "user"));
const DISGUISED = [...NAMES, ...DECIDING_FIELDS]
  .filter((name) => name.includes("-"))
  .flatMap((name) => [name.replaceAll("-", "_"), name.replace("-", ".").toUpperCase()])
  // gunicorn would use these itself.
  .concat("SCRIPT_NAME", "PATH_INFO");
/** The maximum of fields per head, and of Connection options, is about twice that. */
const AT_ONCE = 30;

/** Every field of the table in every spelling, in several heads, named in Connection and not. */
const LIES = chunksOf([...NAMES, ...DISGUISED], AT_ONCE).flatMap((names) => [liesOf(names, names), liesOf(names, [])]);

function liesOf(names: readonly string[], options: readonly string[]): string[] {
  return [
    "Host: shop.example:81",
    ...names.map((name) => `${name}: 6.6.6.6`),
    "X-Forwarded-Ssl: on",
    "X-Forwarded-Protocol: ssl",
    "X-Forwarded-Scheme: evil",
    "X-Forwarded-For: evil, , 6.6.6.6",
    'Forwarded: for="6.6.6.6',
    `Connection: ${["close", ...options].join(", ")}`,
  ];
}

function chunksOf<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, at) => list.slice(at * size, (at + 1) * size));
}

/** A trusted proxy's fields appended to its client's fakes, with the client's Connection. */
const TOLD = [
  "Host: inner:81",
  "X-Forwarded-For: 6.6.6.6, 9.9.9.9, 10.1.2.3",
  "X-Forwarded-Proto: https",
  "X-Forwarded-Host: evil.example, shop.example",
  "X-Forwarded-Prefix: /outer",
  "Forwarded: for=6.6.6.6",
  "X-Real-IP: 9.9.9.9",
  "X-Forwarded-Ssl: on",
  ...DISGUISED.slice(0, AT_ONCE).map((name) => `${name}: 6.6.6.6`),
  "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded, X-Real-IP",
];

/** The client and scheme for each X-Forwarded-For, from a proxy that sends only this. */
const WORDS: [string[], string, string, string][] = [
  [["X-Forwarded-For: , 9.9.9.9"], "9.9.9.9", "http", "inner"],
  [["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 9.9.9.9"], "9.9.9.9", "http", "inner"],
  [["X-Forwarded-For: 6.6.6.6, [2001:DB8::9]:443"], "2001:db8::9", "http", "inner"],
  [["X-Forwarded-For: 6.6.6.6, ::ffff:9.9.9.9"], "9.9.9.9", "http", "inner"],
  [["X-Forwarded-For: 6.6.6.6, unknown"], "unknown", "http", "inner"],
  [["X-Forwarded-Proto: evil"], PROXY, "http", "inner"],
  [["X-Forwarded-Proto: http, https", "X-Forwarded-Host: a:b"], PROXY, "https", "inner"],
  [
    ["Forwarded: for=6.6.6.6;proto=evil, for=9.9.9.9;proto=https;host=shop.example"],
    "9.9.9.9",
    "https",
    "shop.example",
  ],
];

describe.each(RUNTIMES)("who is asking, on %s", (runtime) => {
  test("is told alike to every kind of pool, by whatever way a request came", async () => {
    // What is in Python does not depend on the balancer's runtime.
    const others =
      runtime === "bun"
        ? ([python, asgiPythons(), hasProgram("gunicorn")] as const)
        : ([undefined, {}, false] as const);
    const pools = poolsOf(await startElsewhere(), ...others);
    const project = await Project.make({ runtime, app: "", files: APPS, config: { pools } });
    const socket = join(project.folder, "front.sock");
    project.writeConfig({
      listen: [`127.0.0.1:${project.port}`, `unix:${socket}`],
      balancer: { runtime, trustedProxies: [PROXY, "10.0.0.0/8", "unix"] },
    });
    await project.start();
    for (const name of ["wsgi", "fapws", "gunicorn", ...ASGI_SERVERS])
      if (runtime === "bun" && !(name in pools)) console.log(`left out, not installed: ${name}`);
    const kinds = Object.keys(pools).filter((name) => name !== "static");

    const stranger: Way = { port: project.port };
    const proxy: Way = { port: project.port, localAddress: PROXY };
    const unix: Way = { path: socket };
    const ask = async (way: Way, kind: string, lines: readonly string[]): Promise<Seen> =>
      seenIn(await exchange(way, `/${kind}/x`, lines));

    for (const kind of kinds) {
      for (const lines of LIES) {
        const lied = await ask(stranger, kind, lines);
        const url = `http://shop.example:81/${kind}/x`;
        expect(lied, kind).toMatchObject({ address: "127.0.0.1", scheme: "http", host: "shop.example:81", url });
        expect(JSON.stringify(lied), kind).not.toMatch(/6\.6\.6\.6|evil|\bssl\b/i);
        expect(fieldOf(lied, "x-forwarded-for"), kind).toBe("127.0.0.1");
        expect(fieldOf(lied, "forwarded"), kind).toBe("for=127.0.0.1;proto=http");
        expect(fieldOf(lied, "x-forwarded-prefix"), kind).toBeUndefined();
      }

      const absolute = `http://told.example:8/${kind}/x`;
      const asked = await exchange(stranger, absolute, ["Host: other.example", "Connection: close"]);
      expect(seenIn(asked), kind).toMatchObject({ scheme: "http", host: "told.example:8", url: absolute });

      for (const [way, hops] of [
        [proxy, ["9.9.9.9", "10.1.2.3", PROXY]],
        [unix, ["9.9.9.9", "10.1.2.3"]],
      ] as const) {
        const told = await ask(way, kind, TOLD);
        expect(told, kind).toMatchObject({ address: "9.9.9.9", scheme: "https", host: "shop.example" });
        expect(told.url, kind).toMatch(/^https:\/\/shop\.example(\/outer)?\/\w+\/x$/);
        expect(JSON.stringify(told), kind).not.toMatch(/6\.6\.6\.6|evil/);
        expect(fieldOf(told, "x-forwarded-for"), kind).toBe(hops.join(", "));
        expect(fieldOf(told, "x-forwarded-prefix"), kind).toBe("/outer");
        expect(fieldOf(told, "x-real-ip"), kind).toBe("9.9.9.9");
        expect(fieldOf(told, "x-forwarded-ssl"), kind).toBe("on");
        expect(fieldOf(told, "inner") ?? "http://inner:81", kind).toBe("http://inner:81");
      }

      for (const [lines, address, scheme, host] of WORDS) {
        const said = await ask(proxy, kind, ["Host: inner", ...lines, "Connection: close"]);
        expect(said, `${kind}, ${lines}`).toMatchObject({ address, scheme, host });
      }
      // The other end of a unix socket is unknown, but it is a proxy.
      expect((await ask(unix, kind, ["Host: a", "Connection: close"])).address, kind).toBe("unknown");
    }

    for (const kind of Object.keys(pools)) {
      for (const host of ["a:b", "[::1", "1.2.3.4.5", "a:99999"]) {
        const response = await exchange(stranger, `/${kind}/x`, [`Host: ${host}`, "Connection: close"]);
        expect(response, `${kind} ${host}`).toMatch(/^HTTP\/1\.1 400 /);
      }
    }

    const plain = ["Host: a", "Connection: close"];
    for (const kind of kinds.filter((name) => name !== "wsgi" && name !== "fapws")) {
      for (const [sent, got] of [
        ["%7Ea%2fb//%c3%A9?%7e", "%7Ea%2fb//%c3%A9?%7e"],
        ["x/../%7E/./%2f", "%7E/%2f"],
      ]) {
        const { url } = seenIn(await exchange(stranger, `/${kind}/${sent}`, plain));
        expect(url).toBe(`http://a/${kind}/${got}`);
      }
    }
    for (const target of ["/static/a%20b.txt", "//static/./%61%20b.txt", "/static//a%20b.txt"]) {
      expect(await exchange(stranger, target, plain), target).toMatch(/a file$/);
    }
    expect(await exchange(stranger, "/static/..%2f..%2fasks.py", plain)).toMatch(/^HTTP\/1\.1 400 /);

    // Each front appends to what its client claims.
    const front = await freePort();
    if (hasProgram("nginx")) await startFront(project, "nginx", front, nginxConfig(project.folder, front, socket));
    else console.log("left out, not installed: nginx");
    const other = await freePort();
    if (hasProgram("haproxy")) await startFront(project, "haproxy", other, haproxyConfig(other, PROXY, project.port));
    else console.log("left out, not installed: haproxy");
    const fronts = [hasProgram("nginx") && front, hasProgram("haproxy") && other].filter((port) => port !== false);
    for (const port of fronts) {
      for (const kind of kinds) {
        const lines = [
          "Host: shop.example",
          "X-Forwarded-For: 6.6.6.6",
          "Connection: close, X-Forwarded-For",
          "X_Real_IP: 6.6.6.6",
        ];
        const seen = await ask({ port }, kind, lines);
        const url = `https://shop.example/${kind}/x`;
        expect(seen, kind).toMatchObject({ address: "127.0.0.1", scheme: "https", host: "shop.example", url });
        expect(JSON.stringify(seen), kind).not.toContain("6.6.6.6");
      }
    }
    expect((await project.stop()).code).toBe(0);
  });
});
