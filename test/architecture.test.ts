/** Holds docs/architecture.md, and the directions of imports that it draws, against the code. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { circlesIn, type Import, importsBelow, tableOfCode, tableOfPage } from "./support/architecture.js";
import { ROOT } from "./support/fleet.js";

const SUPERVISOR = "packages/supervisor/src";

/** The rooms in which the supervisor carries out what its core decides. */
const ROOMS = ["processes", "channel", "operations", "sockets", "stats", "logs"];

/** Circles that are there still. The list only gets shorter: one that is opened is taken out of it. */
const KNOWN_CIRCLES = [
  ["balancer/src/upstream-http1/http1-connection.ts", "balancer/src/upstream-http1/http1-upstream.ts"],
  ["server/src/app/import-app.ts", "server/src/app/translate.ts"],
  ["server/src/lane/lane-connection.ts", "server/src/lane/lane-stream.ts"],
  ["server/src/lane/responses-bun.ts", "server/src/lane/responses-node.ts", "server/src/lane/responses.ts"],
];

const isRoom = (to: string) =>
  to === `${SUPERVISOR}/supervisor.js` || ROOMS.some((room) => to.startsWith(`${SUPERVISOR}/${room}/`));

function breaking(imports: Import[], forbidden: (to: string) => boolean): string[] {
  return imports.filter(({ to }) => forbidden(to)).map(({ from, to }) => `${from} imports ${to}`);
}

describe("docs/architecture.md", () => {
  test("has the state table that the state machine has", () => {
    expect(tableOfPage()).toEqual(tableOfCode());
  });

  test("names no file that is not there", () => {
    const page = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
    const named = [...page.matchAll(/`((?:packages|docs|test|examples|scripts|bench)\/[^`\s*{]+)`/g)].map(
      (match) => match[1] ?? "",
    );
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });
});

describe("imports", () => {
  test("the scan finds imports", () => {
    expect(importsBelow(SUPERVISOR).length).toBeGreaterThan(20);
  });

  test("no file imports itself by way of others; types count, since a reader meets them too", () => {
    const circle = [
      { from: "a.ts", to: "b.js" },
      { from: "b.ts", to: "c.js" },
      { from: "c.ts", to: "b.js" },
    ];
    expect(circlesIn(circle)).toEqual([["b.ts", "c.ts"]]);
    const imports = ["wire", "balancer", "server", "supervisor"].flatMap((name) =>
      importsBelow(`packages/${name}/src`),
    );
    const circles = circlesIn(imports).map((files) => files.map((file) => file.replace("packages/", "")));
    expect(circles).toEqual(KNOWN_CIRCLES);
  });

  test("server and balancer know only wire, and never each other or the supervisor", () => {
    for (const name of ["server", "balancer", "wire"]) {
      const foreign = (to: string) =>
        to === "paceline" ||
        (to.startsWith("@paceline/") && (name === "wire" || !/^@paceline\/wire(\/|$)/.test(to))) ||
        (to.startsWith("packages/") && !to.startsWith(`packages/${name}/`));
      expect(breaking(importsBelow(`packages/${name}/src`), foreign)).toEqual([]);
    }
  });

  test("what apps import of the server meets the server in shared/ alone", () => {
    const room = (name: string) => `packages/server/src/${name}/`;
    const isOutside =
      (...rooms: string[]) =>
      (to: string) =>
        to.startsWith("packages/") && !rooms.some((name) => to.startsWith(room(name)));
    expect(breaking(importsBelow(room("api")), isOutside("api", "shared"))).toEqual([]);
    expect(breaking(importsBelow(room("shared")), isOutside("shared"))).toEqual([]);
    const server = ["process", "app", "http1", "lane", "kinds"];
    const imports = server.flatMap((name) => importsBelow(room(name)));
    expect(breaking(imports, isOutside("shared", ...server))).toEqual([]);
  });

  test("core imports nothing from outside itself", () => {
    const outside = (to: string) => !to.startsWith(`${SUPERVISOR}/core/`);
    expect(breaking(importsBelow(`${SUPERVISOR}/core`), outside)).toEqual([]);
  });

  test("the supervisor's rooms know nothing of control's server, nor of the command line", () => {
    const above = (to: string) =>
      to.startsWith(`${SUPERVISOR}/cli/`) ||
      to.startsWith(`${SUPERVISOR}/dashboard/`) ||
      (to.startsWith(`${SUPERVISOR}/control/`) && to !== `${SUPERVISOR}/control/api.js`);
    const imports = ROOMS.flatMap((room) => importsBelow(`${SUPERVISOR}/${room}`));
    expect(breaking(imports, above)).toEqual([]);
  });

  test("control knows the supervisor by its interface alone", () => {
    const beside = (to: string) => isRoom(to) || to.startsWith(`${SUPERVISOR}/cli/`);
    expect(breaking(importsBelow(`${SUPERVISOR}/control`), beside)).toEqual([]);
  });

  test("the dashboard knows only control; the terminal is one file, and what decides and draws is pure", () => {
    const imports = importsBelow(`${SUPERVISOR}/dashboard`);
    expect(imports.length).toBeGreaterThan(0);
    const types = [`${SUPERVISOR}/core/model.js`, `${SUPERVISOR}/control/`, `${SUPERVISOR}/dashboard/`];
    const others = (to: string) => to.startsWith("packages/") && !types.some((path) => to.startsWith(path));
    expect(breaking(imports, others)).toEqual([]);
    const edge = ["terminal", "dashboard", "feed", "plain"].map((name) => `${SUPERVISOR}/dashboard/${name}.ts`);
    const pure = imports.filter(({ from }) => !edge.includes(from));
    const impure = (to: string) => !to.startsWith("packages/") && to !== "string-width";
    const reaches = (to: string) =>
      edge.includes(to.replace(/\.js$/, ".ts")) || to === `${SUPERVISOR}/control/client.js`;
    expect(breaking(pure, (to) => impure(to) || reaches(to))).toEqual([]);
  });

  test("the command line sees only control; start alone makes a supervisor", () => {
    const imports = ["cli", "dashboard"]
      .filter((name) => existsSync(join(ROOT, SUPERVISOR, name)))
      .flatMap((name) => importsBelow(`${SUPERVISOR}/${name}`))
      .filter(({ from }) => from !== `${SUPERVISOR}/cli/start-foreground.ts`);
    expect(imports.length).toBeGreaterThan(0);
    expect(breaking(imports, isRoom)).toEqual([]);
  });
});
