/** The man page that the build generates: complete, and without warnings of man and mandoc. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { commandLine } from "../packages/supervisor/dist/cli/program.js";
import { ROOT } from "./support/fleet.js";
import { hasProgram, needs, run } from "./support/processes.js";

const PAGE = join(ROOT, "packages/supervisor/dist/man/paceline.1");

/** Every text of the page, without its markup. */
const plain = () =>
  readFileSync(PAGE, "utf8")
    .replace(/\\f[BIR]/g, "")
    .replace(/\\-/g, "-")
    .replace(/\\\(dq/g, '"');

test("it has every command, argument and option, the exit statuses and the environment", () => {
  const page = plain();
  for (const command of commandLine(() => async () => {}).commands) {
    if (command.name() === "complete") continue;
    const at = page.indexOf(`.SS "paceline ${command.name()}`);
    expect(at, command.name()).toBeGreaterThan(0);
    const section = page.slice(at, page.indexOf("\n.S", at + 1));
    for (const alias of command.aliases()) expect(section).toContain(alias);
    for (const { flags, hidden, description } of command.options) {
      expect(section.includes(`\n${flags}\n`), flags).toBe(!hidden);
      if (!hidden) expect(section).toContain(description.slice(1));
    }
  }
  for (const text of ["\n.TH PACELINE 1 ", "\n5\n", "\nPACELINE_RUNTIME=node\n", "\npaceline.config.ts\n"])
    expect(`\n${page}`).toContain(text);
  expect(page).not.toMatch(/`|\]\(|undefined/);
});

test("mandoc has no complaint, and man shows it", async (context) => {
  needs(context, "mandoc");
  const lint = await run("mandoc", ["-T", "lint", "-W", "warning", PAGE]);
  expect(lint.output).toBe("");
  expect((await run("mandoc", ["-T", "ascii", PAGE])).stdout.replace(/.[\b]/g, "")).toMatch(
    /-i, --instances <n>\n +The number of instances, or "cpus"\./,
  );
  if (!hasProgram("groff")) return context.skip("groff is not installed; mandoc was used");
  const shown = await run("man", ["--warnings", "-l", PAGE], {
    env: { ...process.env, MANPAGER: "cat", MANWIDTH: "80" },
  });
  expect(shown).toMatchObject({ code: 0, stderr: "" });
});
