/** `paceline startup` writes, replaces and removes the unit of a fleet, below a separate root folder. */
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { Project } from "./support/fleet.js";
import { needs } from "./support/processes.js";

test("a unit is written and enabled once, replaced with the config, and removed", async (context) => {
  needs(context, "systemctl");
  const project = await Project.make({ runtime: "bun", app: HELLO, config: { name: "shop" } });
  const root = join(project.folder, "image");
  mkdirSync(root);
  const units = join(root, "etc/systemd/system");
  const [file, link] = [join(units, "shop.service"), join(units, "multi-user.target.wants/shop.service")];
  const startup = async (...args: string[]) => {
    const { code, output } = await project.cli(["startup", "--root", root, "--run-as", "nobody", ...args]);
    return `${code} ${output.trim()}`;
  };
  expect(await startup()).toBe(`0 ${file} was written and is enabled: systemd starts the fleet on boot`);
  const text = readFileSync(file, "utf8");
  expect(text).toContain(`\nUser=nobody\nWorkingDirectory=${project.folder}\n`);
  expect([lstatSync(file).mode & 0o777, lstatSync(link).isSymbolicLink()]).toEqual([0o644, true]);

  rmSync(link);
  expect(await startup()).toBe(`0 ${file} is installed already and is enabled: systemd starts the fleet on boot`);
  expect([readFileSync(file, "utf8"), lstatSync(link).isSymbolicLink()]).toEqual([text, true]);
  expect(await startup("-i", "7")).toMatch(/^0 \S+ was replaced and is enabled/);
  expect(readFileSync(file, "utf8")).toContain("--instances 7");

  rmSync(join(project.folder, "paceline.config.json"));
  expect(await startup("--remove", "--name", "shop")).toMatch(/^0 \S+ was disabled and removed/);
  expect([existsSync(file), existsSync(link)]).toEqual([false, false]);
  project.writeConfig({});
  expect(await startup("--remove")).toBe(`0 nothing to remove: there is no ${file}`);

  writeFileSync(file, "[Service]\nExecStart=/bin/true\n");
  for (const [args, end] of [
    [[], /was not written by paceline startup, so nothing was changed: /],
    [["--remove"], /was not written by paceline startup, so it stays: /],
  ] as const) {
    const result = await startup(...args);
    expect(result).toMatch(/^1 /);
    expect(result).toMatch(end);
  }
});

test("where it cannot be installed, it says what to run", async (context) => {
  if (existsSync("/run/systemd/system")) context.skip("systemd runs here: this would change the machine");
  const project = await Project.make({ runtime: "bun", app: HELLO });
  const { code, output } = await project.cli(["startup", "--run-as", "nobody"]);
  expect([code, output]).toEqual([
    1,
    expect.stringMatching(/^systemd does not run on this machine; let your init system run `paceline start`.*@reboot/),
  ]);
  expect((await project.cli(["startup", "--user", "--root", "/x"])).code).toBe(2);
});
