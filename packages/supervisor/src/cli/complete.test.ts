/** Completion follows the definitions of the commands. */
import { describe, expect, test } from "vitest";
import type { Status } from "../control/api.js";
import { candidatesFor, namesIn, OF_ARGUMENT, OF_VALUE, valueName } from "./complete.js";
import { commandLine } from "./program.js";

const program = commandLine(() => async () => {});

const textsFor = (...words: string[]) => candidatesFor(program, words).words.map(({ text }) => text);

describe("candidates", () => {
  test("a command line begins with a command or an option; hidden commands are not offered", () => {
    expect(textsFor("")).toEqual(expect.arrayContaining(["start", "scale", "completion"]));
    expect(textsFor("")).not.toContain("complete");
    expect(textsFor()).toEqual(textsFor(""));
    expect(textsFor("sc")).toEqual(["scale", "schema"]);
    expect(textsFor("--v")).toEqual(["--version"]);
    expect(textsFor("help", "sto")).toEqual(["stop"]);
    expect(textsFor("nonsense", "")).toEqual([]);
  });

  test("options of the command, without hidden ones, each with its description", () => {
    expect(textsFor("status", "--")).toEqual([
      "--check",
      "--wide",
      "--config",
      "--run-dir",
      "--json",
      "--timeout",
      "--help",
    ]);
    expect(textsFor("start", "--notify")).toEqual([]);
    expect(textsFor("ls", "")).toEqual([]);
    const [check] = candidatesFor(program, ["status", "--ch"]).words;
    expect(check?.description).toMatch(/^exit 1 unless/);
  });

  test("values of an option, also after an equals sign", () => {
    expect(textsFor("start", "--runtime", "")).toEqual(["bun", "node"]);
    expect(textsFor("start", "--log-format", "j")).toEqual(["json"]);
    expect(textsFor("start", "--log-format=j")).toEqual(["--log-format=json"]);
    expect(textsFor("serve", "--access-log", "")).toEqual(["combined", "json"]);
    expect(textsFor("completion", "")).toEqual(["bash", "zsh", "fish"]);
  });

  test.each<[string[], string]>([
    [["start", "ap"], "files"],
    [["start", "--watch", "ap"], "files"],
    [["start", "--", "no"], "files"],
    [["start", "-i", "3", "--", "node", "ser"], "files"],
    [["serve", "ap"], "files"],
    [["serve", "--static", ""], "folders"],
    [["start", "-i", ""], "nothing"],
    [["start", "--static", ""], "folders"],
    [["status", "-c", ""], "files"],
    [["scale", ""], "pools"],
    [["scale", "--json", "we"], "pools"],
    [["scale", "web", ""], "nothing"],
    [["restart", "we"], "names"],
    [["drain", "--wait", "we"], "instances"],
    [["weight", "web.1", ""], "nothing"],
    [["monit", ""], "nothing"],
    [["kill", ""], "pools"],
    [["logs", "-n", "5", "we"], "names"],
    [["logs", "web", ""], "nothing"],
  ])("%j completes %s", (words, wanted) => {
    expect(candidatesFor(program, words).wanted).toBe(wanted);
  });

  test("the options on the line select the fleet", () => {
    const { fleet } = candidatesFor(program, ["scale", "-c", "shop.json", "--run-dir=/run/shop", ""]);
    expect(fleet).toEqual({ config: "shop.json", runDir: "/run/shop" });
  });

  test("every argument and value of every command declares what completes it", () => {
    for (const command of program.commands) {
      for (const argument of command.registeredArguments)
        if (argument.argChoices === undefined) expect(OF_ARGUMENT, command.name()).toHaveProperty([argument.name()]);
      for (const option of command.options)
        if (option.required && !option.hidden && option.argChoices === undefined)
          expect(OF_VALUE, `${command.name()} ${option.flags}`).toHaveProperty([valueName(option)]);
    }
  });
});

test("names are those of pools, and where allowed those of instances and balancers", () => {
  const status = {
    pools: [
      { name: "web", ready: 1, wanted: 2, instances: [{ name: "web.1", state: "ready" }] },
      { name: "$(id)\n", ready: 1, wanted: 2, instances: [] },
    ],
    balancers: [{ name: "balancer.1", state: "ready" }],
  } as unknown as Status;
  expect(namesIn(status, "pools")).toEqual([{ text: "web", description: "1/2 ready" }]);
  expect(namesIn(status, "instances")).toEqual([{ text: "web.1", description: "ready" }]);
  expect(namesIn(status, "names").map(({ text }) => text)).toEqual(["web", "balancer", "web.1", "balancer.1"]);
});
