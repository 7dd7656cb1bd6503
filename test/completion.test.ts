/** Completion in real shells, with a running fleet. */
import { mkdirSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { expect, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { PACELINE, type Project, startFleet } from "./support/fleet.js";
import { hasProgram, run } from "./support/processes.js";
import { Screen } from "./support/terminal.js";

/** Each line: the words of an unfinished command line, then the candidates that complete the last one. */
const LINES: [words: string[], candidates: string[]][] = [
  [["sca"], ["scale"]],
  [
    ["start", "--runtime", ""],
    ["bun", "node"],
  ],
  [["scale", "w"], ["web"]],
  [
    ["restart", "web."],
    ["web.1", "web.2"],
  ],
  [
    ["logs", "-f", "bal"],
    ["balancer", "balancer.1"],
  ],
  [["stop", "--run-dir", "/nowhere", ""], []],
  [["start", "app"], ["app.js"]],
];

const BASH = `
eval "$(paceline completion bash)"
ask() {
  COMP_WORDS=(paceline "$@")
  COMP_CWORD=$#
  _paceline
  echo "\${COMPREPLY[*]}"
}
${LINES.map(([words]) => `ask ${words.map((word) => `'${word}'`).join(" ")}`).join("\n")}
ask start --log-format = js
complete -p paceline
`;

const FISH = `
paceline completion fish | source
${LINES.map(([words]) => `echo (complete -C 'paceline ${words.join(" ")}' | string replace -r '\\t.*' '')`).join("\n")}
`;

test("bash, zsh and fish complete commands, options, values, files and names of the running fleet", async (context) => {
  const project = await startFleet({ runtime: "bun", app: HELLO });
  const env = environment(project);
  const expected = LINES.map(([, candidates]) => candidates.join(" "));
  const inShell = (shell: string, args: string[]) => run(shell, args, { cwd: project.folder, env });

  const bash = await inShell("bash", ["--norc", "--noprofile", "-c", BASH]);
  expect(bash).toMatchObject({ code: 0, stderr: "" });
  expect(bash.stdout.split("\n")).toEqual([...expected, "json", "complete -F _paceline paceline", ""]);

  const missing = ["fish", "zsh"].filter((shell) => !hasProgram(shell));
  if (!missing.includes("fish")) {
    const fish = await inShell("fish", ["--no-config", "-c", FISH]);
    expect(fish.stderr).toBe("");
    expect(fish.stdout.split("\n")).toEqual([...expected, ""]);
  }
  if (!missing.includes("zsh")) {
    const screen = Screen.open("zsh", ["-f", "-i"], { cwd: project.folder, env });
    screen.press(
      `PS1='> '; autoload -U compinit; compinit -u -D; eval "$(paceline completion zsh)"; clear; echo set\n`,
    );
    await screen.sees(/^set$/m);
    screen.press("paceline sca\t");
    await screen.sees(/> paceline scale $|> paceline scale$/m);
    screen.press("w\t");
    await screen.sees(/> paceline scale web/);
    screen.press("\x15paceline start --log-format=js\t");
    await screen.sees(/> paceline start --log-format=json/);
    screen.press("\x15paceline restart web.\t");
    await screen.sees(/^web\.[12] +web\.[12] +-- ready/m);
    screen.press("\x15paceline start ap\t");
    await screen.sees(/> paceline start app\.js/);
  }
  if (missing.length > 0) context.skip(`${missing.join(", ")} not installed; bash was tested`);
});

/** Finds `paceline` in PATH, and the fleet by its run directory. */
function environment(project: Project): NodeJS.ProcessEnv {
  const bin = join(project.folder, "bin");
  mkdirSync(bin);
  symlinkSync(PACELINE, join(bin, "paceline"));
  const PATH = [bin, process.env.PATH].join(delimiter);
  return { ...process.env, PATH, PACELINE_RUN_DIR: project.runDir, HOME: project.folder, TERM: "xterm" };
}
