/** Words of PM2 get a line with ours, and no guess stops a fleet. */
import { CommanderError } from "commander";
import { expect, test } from "vitest";
import { explainMistake } from "./pm2-hints.js";
import { commandLine } from "./program.js";

/** Returns what the command line prints about a mistake in `args`. */
async function said(...args: string[]): Promise<string> {
  const program = commandLine(
    () => async () => {},
    (all) => all.configureOutput({ writeErr: () => {} }).exitOverride(),
  );
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return explainMistake(error.message, args);
    throw error;
  }
  return "no mistake";
}

const COMMANDS =
  "autoinstall backward cleardump config create dash deepUpdate del describe examples expose forward inspect install link unlink " +
  "login logout logrotate module:install module:x monitor unmonitor multiset open package profile:cpu profile:mem publish pull " +
  "register send show slist sysinfos uninstall unset updatePM2 save unstartup resurrect flush reloadLogs env prettylist " +
  "jlist imonit plus report id ping update reset startOrRestart startOrReload gracefulReload sendSignal trigger attach set get";

test.each(COMMANDS.split(" "))("PM2's command %s has a line, and no guess", async (name) => {
  const text = await said(name, "0");
  expect(text).toMatch(new RegExp(`^error: unknown command '${name}': ${name} is PM2's; .+$`));
});

const OPTIONS =
  "--attach --deep-monitoring --disable-logs --disable-source-map-support --ext --filter-env --ignore-watch --interpreter-args " +
  "--log-type --no-automation --no-autostart --no-color --no-pmx --no-treekill --no-vizion --parallel --pid --service-name " +
  "--shutdown-with-message --silent --sort --source-map-support --stop-exit-codes --trace --v8 --wait-ip --watch-delay --write " +
  "--no-daemon --interpreter --node-args --exec-mode --max-memory-restart --kill-timeout --wait-ready --env --only --output " +
  "-a -e -f -k -m -n -o -s -u -w -x";

test.each([
  ...OPTIONS.split(" ").map((option) => ["start", option]),
  ["logs", "--err"],
  ["logs", "--format"],
  ["ls", "--sort"],
  ["restart", "--env"],
])("PM2's option of %s, %s, has a line, and no guess", async (command, option) => {
  expect(await said(command, option, "x")).toMatch(
    new RegExp(`^error: unknown option '${option}': ${option} is PM2's; .+$`),
  );
});

test.each([
  [["shw"], "error: unknown command 'shw'"],
  [["still"], "error: unknown command 'still'"],
  [["kil"], "error: unknown command 'kil'\n(Did you mean kill?)"],
  [["stpo"], "error: unknown command 'stpo'\n(Did you mean stop?)"],
  [["stauts"], "error: unknown command 'stauts'\n(Did you mean status?)"],
  [["relod"], "error: unknown command 'relod'\n(Did you mean reload?)"],
  [["status", "--jsn"], "error: unknown option '--jsn'\n(Did you mean --json?)"],
])("a guess for %j never stops a fleet unless only one letter is wrong", async (args, text) => {
  expect(await said(...args)).toBe(text);
});

test.each([
  ["start ecosystem.config.js --env production", "paceline import ecosystem.config.js --env production"],
  ["start ./etc/ecosystem.config.cjs --only=web -d", "paceline import ./etc/ecosystem.config.cjs --only web"],
  ["reload pm2.config.js --env staging", "paceline import pm2.config.js --env staging"],
  ["start --only web process.json", "paceline import process.json --only web"],
])("%s names the import", async (line, command) => {
  expect(await said(...line.split(" "))).toMatch(new RegExp(`: run: ${command.replaceAll(".", "\\.")}$`));
});

test.each([
  ["status web", "shows all pools"],
  ["ls web", "lists all fleets"],
  ["top web", "press / to filter"],
  ["init . simple", "paceline init"],
])("%s says what the command shows", async (line, hint) => {
  expect(await said(...line.split(" "))).toMatch(new RegExp(`^error: too many arguments .*\\d: .*${hint}`));
});
