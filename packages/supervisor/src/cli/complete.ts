/** Finds the possible next words of an unfinished command line, from the commands' own definitions. The shells' scripts call it. */
import type { Command, Option } from "commander";
import type { Status } from "../control/api.js";
import { visibleLine } from "../core/words.js";
import { connectFleet } from "../fleet/fleet.js";

/** Words that the shell adds itself, or that only the running fleet knows. */
type Wanted = "files" | "folders" | "pools" | "instances" | "names" | "nothing";

/** What completes each argument, by its name in the command's definition. */
export const OF_ARGUMENT: Readonly<Record<string, Wanted>> = {
  "config|app": "files",
  app: "files",
  words: "files",
  args: "files",
  file: "files",
  folder: "folders",
  ...{ release: "files", "release|pool": "files" },
  pool: "pools",
  target: "names",
  instance: "instances",
  name: "names",
  ...{ n: "nothing", weight: "nothing", id: "nothing", show: "nothing", reason: "nothing" },
};

/** What completes an option's value, by the value's name. */
export const OF_VALUE: Readonly<Record<string, Wanted>> = {
  path: "files",
  file: "files",
  script: "files",
  program: "files",
  folder: "folders",
  ...{ address: "nothing", app: "nothing", count: "nothing", format: "nothing", n: "nothing" },
  ...{ share: "nothing", what: "nothing", how: "nothing" },
  ...{ name: "nothing", pattern: "nothing", seconds: "nothing", url: "nothing", host: "nothing" },
  ...{ pathname: "nothing", phases: "nothing" },
};

export interface Candidate {
  text: string;
  description: string;
}

interface Candidates {
  /** All words that match the typed prefix. */
  words: Candidate[];
  wanted: Wanted;
  /** The options on the line that select a fleet. */
  fleet: { config?: string | undefined; runDir?: string | undefined };
}

/** @param words the words after `paceline`; the last one is unfinished, and may be empty */
export function candidatesFor(program: Command, words: readonly string[]): Candidates {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const at = commandAt(program, before);
  const fitting = (all: Candidate[], wanted: Wanted = "nothing", fleet = {}): Candidates => ({
    ...{ words: all.filter(({ text }) => text.startsWith(current)), wanted, fleet },
  });
  const commands = program.commands.filter((command) => !isHidden(command));
  const ofProgram = current.startsWith("-") ? optionsOf(program) : commands.map(commandWord);
  if (at < 0) return fitting(ofProgram);
  const name = before[at] as string;
  if (name === "help") return fitting(commands.map(commandWord));
  const command = commands.find((each) => each.name() === name || each.aliases().includes(name));
  if (command === undefined) return fitting([]);
  const line = readLine(command, before.slice(at + 1));
  const [, long, given] = /^(--[^=]+)=(.*)$/s.exec(current) ?? [];
  const option = line.pending ?? (line.isAfterDashes ? undefined : command.options.find((each) => each.long === long));
  if (option !== undefined) {
    const prefix = given === undefined ? "" : `${long}=`;
    const choices = (option.argChoices ?? []).map((text) => ({ text: prefix + text, description: "" }));
    return fitting(choices, OF_VALUE[valueName(option)], line.fleet);
  }
  if (current.startsWith("-") && !line.isAfterDashes) return fitting(optionsOf(command));
  const { registeredArguments: known } = command;
  const last = known.at(-1);
  const argument = known[line.operands] ?? (last?.variadic ? last : undefined);
  if (argument === undefined) return fitting([]);
  const choices = (argument.argChoices ?? []).map((text) => ({ text, description: "" }));
  return fitting(choices, OF_ARGUMENT[argument.name()], line.fleet);
}

/** Returns the position of the command, after the options of the program; -1 if there is none yet. */
function commandAt(program: Command, words: readonly string[]): number {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    if (!word.startsWith("-")) return at;
    if (program.options.some(({ long, short, required }) => required && (word === long || word === short))) at++;
  }
  return -1;
}

interface Line {
  /** How many operands the command already has. */
  operands: number;
  /** The option whose value comes next. */
  pending: Option | undefined;
  isAfterDashes: boolean;
  fleet: Candidates["fleet"];
}

function readLine(command: Command, words: readonly string[]): Line {
  const line: Line = { operands: 0, pending: undefined, isAfterDashes: false, fleet: {} };
  for (const word of words) {
    const { pending } = line;
    if (pending !== undefined) {
      take(line, pending, word);
      line.pending = undefined;
    } else if (line.isAfterDashes || !word.startsWith("-")) line.operands++;
    else if (word === "--") line.isAfterDashes = true;
    else {
      const [flag = "", value] = word.split(/=(.*)/s);
      const option = command.options.find(({ long, short }) => flag === long || flag === short);
      if (option?.required && value === undefined) line.pending = option;
      else if (option !== undefined && value !== undefined) take(line, option, value);
    }
  }
  return line;
}

function take({ fleet }: Line, option: Option, value: string): void {
  if (option.long === "--config") fleet.config = value;
  if (option.long === "--run-dir") fleet.runDir = value;
}

/** Commander knows whether a command is hidden, but has no method for it. */
function isHidden(command: Command): boolean {
  return (command as unknown as { _hidden: boolean })._hidden;
}

function commandWord(command: Command): Candidate {
  return { text: command.name(), description: command.description() };
}

function optionsOf(command: Command): Candidate[] {
  const help = { text: "--help", description: "display help for command" };
  const own = command.options.filter(({ hidden }) => !hidden);
  return [...own.map(({ long, short, description }) => ({ text: long ?? short ?? "", description })), help];
}

/** Returns the name of an option's value: `path` of `--run-dir <path>`. */
export function valueName({ flags }: Option): string {
  return /[<[]([^>\].]+)/.exec(flags)?.[1] ?? "";
}

/** Words that only the running fleet knows. */
export type Named = Extract<Wanted, "pools" | "instances" | "names">;

/** The time limit in milliseconds: the shell hangs while it waits. */
const ASK_TIMEOUT_MS = 800;

/** Returns names of the running fleet; an empty list if it does not respond in time. */
export async function namesOf(fleet: Candidates["fleet"], wanted: Named): Promise<Candidate[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ASK_TIMEOUT_MS, undefined);
  });
  const asked = connectFleet(fleet).then((found) => found.status({ timeoutMs: ASK_TIMEOUT_MS }));
  const status = await Promise.race([asked.catch(() => undefined), late]);
  clearTimeout(timer);
  return status === undefined ? [] : namesIn(status, wanted);
}

export function namesIn({ pools, balancers }: Status, wanted: Named): Candidate[] {
  const ofPools = pools.map(({ name, ready, wanted: size }) => ({
    ...{ text: name, description: visibleLine(`${ready}/${size} ready`) },
  }));
  if (wanted === "pools") return ofPools.filter(isName);
  const slots = [...pools.flatMap(({ instances }) => instances), ...(wanted === "instances" ? [] : balancers)];
  const ofSlots = slots.map(({ name, state }) => ({ text: name, description: visibleLine(state) }));
  if (wanted === "instances") return ofSlots.filter(isName);
  const balancer = balancers.length === 0 ? [] : [{ text: "balancer", description: "all balancers" }];
  return [...ofPools, ...balancer, ...ofSlots].filter(isName);
}

/** A process of another user, which root may ask, can send anything. */
function isName({ text }: Candidate): boolean {
  return /^[a-z][a-z0-9.-]*$/.test(text);
}
