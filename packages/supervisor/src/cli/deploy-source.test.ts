/** What a deploy loads, and what reloads read after it. */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeFolder } from "../../test/support.js";
import { findSource } from "../config/find.js";
import { loadFleet } from "../config/load.js";
import { SourceInForce } from "./deploy-source.js";

/** A folder of releases, each with its number in its environment, and a link to the first one. */
async function shop() {
  const folder = makeFolder();
  for (const release of [1, 2, 3]) {
    const place = join(folder, "releases", `${release}`);
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, "app.mjs"), "export default () => new Response();\n");
    const name = release === 2 ? { name: "other" } : {};
    const config = { ...name, app: "./app.mjs", listen: "unix:shop.sock", env: { RELEASE: `${release}` } };
    writeFileSync(join(place, "paceline.config.json"), JSON.stringify(config));
  }
  const current = join(folder, "current");
  const pointTo = (release: number) => {
    rmSync(current, { force: true });
    symlinkSync(`releases/${release}`, current);
  };
  pointTo(1);
  const request = {
    ...{ target: current, cwd: folder, overrides: {}, environment: {}, endsSoon: true },
    runtimes: { node: process.execPath, preferred: "node" as const },
  };
  const { source, config } = await loadFleet(request);
  const put: string[] = [];
  const inForce = new SourceInForce(
    request,
    () => source,
    undefined,
    ({ release }) => put.push(release),
  );
  const releaseOf = async () => {
    const loaded = await inForce.again();
    return "fleet" in loaded ? loaded.fleet.config.pools[0]?.env : loaded.problems;
  };
  return { folder, pointTo, config, put, inForce, releaseOf };
}

test("a deployed release is what reloads read, until the fleet's own path leads elsewhere; name and sockets stay", async () => {
  const { folder, pointTo, config, put, inForce, releaseOf } = await shop();
  expect(await releaseOf()).toEqual({ RELEASE: "1" });
  writeFileSync(join(folder, "next.env"), "COLOUR=red\n");
  const loaded = await inForce.load({ dir: join(folder, "releases/2"), envFile: join(folder, "next.env") }, "fleet");
  if (!loaded.ok) throw new Error(loaded.problems.join());
  expect(loaded.config).toMatchObject({ name: "fleet", listen: config.listen });
  expect(loaded.note).toBe("the release's name other is ignored: the fleet stays fleet");
  expect(loaded.config.pools[0]).toMatchObject({ env: { RELEASE: "2", COLOUR: "red" } });
  // Not before the release is in service.
  expect(await releaseOf()).toEqual({ RELEASE: "1" });
  inForce.set(loaded.deployed);
  expect(put).toEqual([join(folder, "releases/2")]);
  expect(await releaseOf()).toEqual({ RELEASE: "2", COLOUR: "red" });
  expect(await inForce.again()).toMatchObject({ fleet: { config: { name: "fleet" } } });
  // After a rollback the former release stays, although the link may lead to the new one by now.
  pointTo(2);
  inForce.set(loaded.former);
  expect(await releaseOf()).toEqual({ RELEASE: "1" });
  // Without a release, a deploy reads the same as a reload, with further variables; a peek changes nothing.
  const same = await inForce.peekRelease({ envFile: join(folder, "next.env") }, "fleet");
  expect(same).toMatchObject({ ok: true, config: { pools: [{ env: { RELEASE: "1", COLOUR: "red" } }] } });
  // A release that names nothing has no name to ignore.
  expect(await inForce.peekRelease({ dir: join(folder, "releases/3") }, "fleet")).toMatchObject({
    config: { pools: [{ env: { RELEASE: "3" } }] },
    note: undefined,
  });
  inForce.set(loaded.former);
  expect(put).toHaveLength(1);
  expect(await releaseOf()).toEqual({ RELEASE: "1" });
  pointTo(3);
  expect(await releaseOf()).toEqual({ RELEASE: "3" });
  expect(inForce.isDeployed).toBe(false);
});

test("a release without a config, or with an invalid one, is rejected", async () => {
  const { folder, inForce } = await shop();
  expect(await inForce.load({ dir: join(folder, "releases") }, "fleet")).toMatchObject({ ok: false });
  writeFileSync(join(folder, "wrong.json"), '{ "instnaces": 2 }');
  const loaded = await inForce.load({ config: join(folder, "wrong.json") }, "fleet");
  expect(loaded).toMatchObject({ ok: false, problems: expect.arrayContaining([expect.stringContaining("instnaces")]) });
});

// A supervisor that opens a named pipe as usual waits forever.
test("a path that is not a regular file is opened neither as a release nor as its config, env file or app", async () => {
  const { folder, inForce } = await shop();
  const pipe = (name: string) => {
    execFileSync("mkfifo", [join(folder, name)]);
    return join(folder, name);
  };
  symlinkSync("loop", join(folder, "loop"));
  const problems = async (given: Parameters<typeof inForce.load>[0]) => {
    const loaded = await inForce.load(given, "fleet");
    return loaded.ok ? undefined : loaded.problems.join();
  };
  const noFile = expect.stringContaining("is neither a regular file nor a folder");
  expect(await problems({ dir: pipe("release") })).toEqual(noFile);
  expect(await problems({ config: pipe("other.json") })).toEqual(noFile);
  expect(await problems({ dir: join(folder, "loop") })).toContain("there is no such file or folder");
  expect(await problems({ envFile: pipe("next.env") })).toContain("is not a regular file");
  mkdirSync(join(folder, "next"));
  pipe("next/paceline.toml");
  expect(await problems({ dir: join(folder, "next") })).toContain("is not a regular file");
  pipe("next/app.mjs");
  writeFileSync(join(folder, "next/paceline.config.json"), '{ "app": "./app.mjs" }');
  expect(await problems({ dir: join(folder, "next") })).toEqual(noFile);
});

test("a missing config, or a config's name on something that is not a file, never makes a release run with the defaults", async () => {
  const { folder, inForce } = await shop();
  const release = join(folder, "next");
  const file = join(release, "paceline.config.json");
  mkdirSync(release);
  writeFileSync(join(release, "app.mjs"), "export default () => new Response();\n");
  const problems = async () => {
    const loaded = await inForce.load({ dir: release }, "fleet");
    return loaded.ok ? undefined : loaded.problems;
  };
  const why = `has no paceline.config.json, and without it would run with the defaults: add it, as in ${folder}/current`;
  expect(await problems()).toEqual([`${release}: ${why}`]);
  const link = `${file}: is a symbolic link that leads to no file`;
  for (const [target, message] of [
    ["../shared/paceline.config.json", link],
    ["paceline.config.json", link],
    [folder, `${file}: is a folder, and not a config file`],
  ] as const) {
    symlinkSync(target, file);
    expect(await problems()).toEqual([message]);
    expect(() => findSource(release, "/")).toThrow(message);
    rmSync(file);
  }
  writeFileSync(join(release, "paceline.toml"), 'app = "./app.mjs"\n');
  expect(await problems()).toBeUndefined();
});

test("the loading of a config is aborted when nobody needs it any more", async () => {
  const { folder, inForce } = await shop();
  const config = join(folder, "paceline.config.mjs");
  writeFileSync(config, "await new Promise((resolve) => setTimeout(resolve, 60_000));\nexport default {};\n");
  const wanted = new AbortController();
  const loading = inForce.load({ config }, "fleet", wanted.signal);
  setImmediate(() => wanted.abort());
  expect(await loading).toMatchObject({ ok: false, problems: [expect.stringContaining("no command waits")] });
});
