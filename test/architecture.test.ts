/** Compares docs/architecture.md, and its import directions, with the code. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  circlesIn,
  foldersOfPage,
  type Import,
  importsBelow,
  roomsOfPage,
  tableOfCode,
  tableOfPage,
} from "./support/architecture.js";
import { ROOT } from "./support/fleet.js";

const SUPERVISOR = "packages/supervisor/src";
const ROOMS = roomsOfPage();
const SOURCES = ["wire", "balancer", "server", "supervisor"].map((name) => `packages/${name}/src`);

/**
 * Returns the first name of the part of the supervisor to which docs/architecture.md assigns a file; undefined for single files that import
 * no part.
 */
function roomOf(path: string): string | undefined {
  const [first = "", more] = path.startsWith(`${SUPERVISOR}/`) ? path.slice(SUPERVISOR.length + 1).split("/") : [];
  const name = first.replace(/\.js$/, ".ts");
  return more === undefined ? ROOMS.find(({ names }) => names.includes(name))?.names[0] : first;
}

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

  test("names no file by its last name alone that is nowhere", () => {
    const page = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
    const named = new Set(page.match(/[\w-]+\.(ts|py|mjs)\b/g));
    const folders = ["packages", "scripts"].flatMap((top) =>
      readdirSync(join(ROOT, top)).map((name) => `${top}/${name}`),
    );
    const parts = folders
      .flatMap((folder) => [`${folder}/src`, `${folder}/python`])
      .filter((path) => existsSync(join(ROOT, path)));
    const files = [...parts, "scripts"].flatMap((path) =>
      readdirSync(join(ROOT, path), { recursive: true, encoding: "utf8" }),
    );
    const known = new Set(files.map((file) => basename(file)));
    expect(named.size).toBeGreaterThan(50);
    expect([...named].filter((name) => !known.has(name))).toEqual([]);
  });
});

test("no source file has more than 400 lines, except the generated one", () => {
  const files = SOURCES.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).map((name) => `${folder}/${name}`),
  );
  const sources = files.filter((path) => /(?<!\.test)\.ts$/.test(path) && !path.endsWith("/config-types.ts"));
  expect(sources.length).toBeGreaterThan(100);
  const linesIn = (path: string) => readFileSync(join(ROOT, path), "utf8").split("\n").length - 1;
  expect(sources.filter((path) => linesIn(path) > 400)).toEqual([]);
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
    const imports = SOURCES.flatMap(importsBelow);
    const circles = circlesIn(imports).map((files) => files.map((file) => file.replace("packages/", "")));
    expect(circles).toEqual([]);
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

  test("the supervisor's rooms import what docs/architecture.md says, and of control/api.ts only types", () => {
    const imports = importsBelow(SUPERVISOR);
    const rooms = Object.fromEntries(ROOMS.map(({ names: [first = ""], imports }) => [first, imports]));
    expect(Object.keys(rooms).length).toBeGreaterThan(10);
    const found: Record<string, string[]> = Object.fromEntries(Object.keys(rooms).map((room) => [room, []]));
    for (const { from, to } of imports) {
      const [room, other] = [roomOf(from), roomOf(to)];
      if (room === other || other === undefined || to === `${SUPERVISOR}/control/api.js`) continue;
      expect(room, `${from}, which is in no room of the table, imports ${to}`).toBeDefined();
      if (room !== undefined && !found[room]?.includes(other)) found[room]?.push(other);
    }
    for (const others of Object.values(found)) others.sort();
    expect(found).toEqual(rooms);
    const api = readFileSync(join(ROOT, SUPERVISOR, "control/api.ts"), "utf8");
    expect(api).not.toMatch(/^export (async )?(function|const|let|class|enum)/m);
  });

  test("the balancer's folders import code only from those before them in docs/architecture.md", () => {
    const source = "packages/balancer/src";
    const order = foldersOfPage();
    const folders = readdirSync(join(ROOT, source), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect([...order].sort()).toEqual(folders.map(({ name }) => name).sort());
    const at = (path: string) => order.indexOf(path.slice(source.length + 1).split("/")[0] ?? "");
    const code = importsBelow(source).filter(({ from, isType }) => isType !== true && at(from) >= 0);
    expect(code.length).toBeGreaterThan(100);
    expect(code.filter(({ from, to }) => to.startsWith(source) && at(to) > at(from))).toEqual([]);
  });

  test("of the dashboard the terminal is one file, and what decides and draws is pure", () => {
    const imports = importsBelow(`${SUPERVISOR}/dashboard`);
    expect(imports.length).toBeGreaterThan(0);
    const edge = ["terminal", "dashboard", "feed", "plain"].map((name) => `${SUPERVISOR}/dashboard/${name}.ts`);
    const pure = imports.filter(({ from }) => !edge.includes(from));
    const impure = (to: string) => !to.startsWith("packages/") && to !== "string-width";
    const reaches = (to: string) =>
      edge.includes(to.replace(/\.js$/, ".ts")) || to === `${SUPERVISOR}/control/client.js`;
    expect(breaking(pure, (to) => impure(to) || reaches(to))).toEqual([]);
  });
});
