/** The command line of the dashboard: its commands, their completion, and their parsing. Pure. */
import type { Model } from "./model.js";

/** What a command does. */
export type Command =
  | { do: "operate"; question: string; label: string; target: string; path: string; body: object }
  | { do: "keys"; keys: readonly string[] }
  | { do: "filter"; text: string }
  | { do: "sort"; key: string }
  | { do: "log"; name: string | null }
  | { do: "problem"; text: string };

interface Known {
  name: string;
  /** The kinds of its arguments: names of processes or pools, or anything. */
  arguments: readonly ("instance" | "pool" | "any" | "number" | "text")[];
  /** How many of the arguments are required. */
  needed: number;
  help: string;
  run(words: readonly string[]): Command;
}

function operation(question: string, target: string, path: string, body: object = {}): Command {
  return { do: "operate", question, label: question.toLowerCase(), target, path, body };
}

const part = encodeURIComponent;

/** Every command. A new one is an entry here. */
const COMMANDS: readonly Known[] = [
  {
    ...{ name: "scale", arguments: ["pool", "number"], needed: 2, help: "POOL NUMBER: run this many instances" },
    run: ([pool = "", text = ""]) => {
      const instances = Number(text);
      if (!/^\d{1,4}$/.test(text))
        return { do: "problem", text: "scale needs a number of instances, such as: scale web 4" };
      return operation(`Scale ${pool} to ${text}`, pool, `/v1/pools/${part(pool)}/scale`, { instances });
    },
  },
  {
    ...{ name: "reload", arguments: ["pool"], needed: 0, help: "[POOL]: new config, env files and code" },
    run: ([pool]) =>
      operation(`Reload ${pool ?? "all pools"}`, pool ?? "all pools", "/v1/reload", pool === undefined ? {} : { pool }),
  },
  {
    ...{ name: "restart", arguments: ["any"], needed: 1, help: "NAME: replace an instance, a pool or a balancer" },
    run: ([target = ""]) => operation(`Restart ${target}`, target, "/v1/restart", { target }),
  },
  ...(["drain", "undrain", "eject", "readmit"] as const).map((name): Known => {
    const help = {
      drain: "INSTANCE: no new requests",
      undrain: "INSTANCE: back in turn",
      eject: "INSTANCE: only if all others are ejected, too",
      readmit: "INSTANCE: back in turn after an ejection",
    }[name];
    const title = name[0]?.toUpperCase() + name.slice(1);
    return {
      ...{ name, arguments: ["instance"], needed: 1, help },
      run: ([of = ""]) => operation(`${title} ${of}`, of, `/v1/instances/${part(of)}/${name}`),
    };
  }),
  {
    ...{
      name: "weight",
      arguments: ["instance", "number"],
      needed: 2,
      help: "INSTANCE 1–1000: its share; others have 100",
    },
    run: ([name = "", text = ""]) =>
      /^\d{1,4}$/.test(text)
        ? operation(`Give ${name} the weight ${text}`, name, `/v1/instances/${part(name)}/weight`, {
            weight: Number(text),
          })
        : { do: "problem", text: "weight needs a number, such as: weight web.1 50" },
  },
  {
    ...{ name: "deploy", arguments: ["text"], needed: 1, help: "/FOLDER: try a release, then put it in service" },
    run: ([dir = ""]) =>
      dir.startsWith("/")
        ? operation(`Deploy ${dir}`, "deploy", "/v1/deploy", { dir })
        : { do: "problem", text: "deploy needs an absolute path" },
  },
  {
    ...{ name: "rollback", arguments: [], needed: 0, help: "to the version before the last deploy" },
    run: () => operation("Roll back", "deploy", "/v1/rollback"),
  },
  {
    ...{ name: "promote", arguments: [], needed: 0, help: "continue the deploy without its verdict" },
    run: () => operation("Promote the canaries now", "deploy", "/v1/deploy/promote"),
  },
  {
    ...{ name: "hold", arguments: [], needed: 0, help: "let the deploy wait after its verdict" },
    run: () => operation("Hold the deploy", "deploy", "/v1/deploy/hold", { hold: true }),
  },
  {
    ...{ name: "resume", arguments: [], needed: 0, help: "no longer hold the deploy" },
    run: () => operation("Resume the deploy", "deploy", "/v1/deploy/hold", { hold: false }),
  },
  {
    ...{ name: "profile", arguments: ["any"], needed: 1, help: "NAME: where its CPU time goes, into a file" },
    run: ([target = ""]) =>
      operation(`Profile ${target} for 10 s`, target, "/v1/dump", { target, what: "cpu", durationMs: 10_000 }),
  },
  {
    ...{ name: "lock", arguments: ["text"], needed: 1, help: "REASON: refuse changes of the fleet" },
    run: (words) => operation(`Lock the fleet (${words.join(" ")})`, "lock", "/v1/lock", { reason: words.join(" ") }),
  },
  {
    ...{ name: "unlock", arguments: [], needed: 0, help: "allow changes again" },
    run: () => operation("Unlock the fleet", "lock", "/v1/unlock"),
  },
  {
    ...{ name: "stop", arguments: [], needed: 0, help: "stop the whole fleet" },
    run: () => operation("Stop the whole fleet", "stop", "/v1/stop"),
  },
  {
    ...{ name: "log", arguments: ["any"], needed: 0, help: "[NAME]: its log, or that of all" },
    run: ([name]) => ({ do: "log", name: name ?? null }),
  },
  {
    ...{ name: "filter", arguments: ["text"], needed: 0, help: "WORDS !NOT: show only such rows" },
    run: (words) => ({ do: "filter", text: words.join(" ") }),
  },
  {
    ...{ name: "sort", arguments: ["text"], needed: 1, help: "COLUMN: such as p99" },
    run: ([key = ""]) => ({ do: "sort", key }),
  },
  ...(
    [
      ["errors", "e", "what went wrong"],
      ["deaths", "d", "which processes died"],
      ["canary", "c", "the deploy that is judged"],
      ["mouse", "m", "on or off"],
      ["help", "?", "keys and words"],
      ["quit", "q", "leave"],
    ] as const
  ).map(
    ([name, key, help]): Known => ({
      ...{ name, arguments: [], needed: 0, help },
      run: () => ({ do: "keys", keys: [key] }),
    }),
  ),
];

interface Suggestion {
  /** The whole line. */
  text: string;
  help: string;
}

const MOST = 6;

/** Returns possible completions of the text, best first. */
export function suggestionsFor(text: string, model: Pick<Model, "status">): Suggestion[] {
  const words = text.trimStart().split(/ +/);
  const [first = "", ...rest] = words;
  if (rest.length === 0)
    return ranked(COMMANDS, first, ({ name }) => name).map(({ name, help }) => ({ text: name, help }));
  const command = COMMANDS.find(({ name }) => name === first) ?? ranked(COMMANDS, first, ({ name }) => name)[0];
  const kind = command?.arguments[Math.min(rest.length, command.arguments.length) - 1];
  if (command === undefined || kind === undefined) return [];
  const names = kind === "number" || kind === "text" ? [] : namesOf(model, kind);
  const before = [command.name, ...rest.slice(0, -1)].join(" ");
  const found = ranked(names, rest.at(-1) ?? "", (name) => name).map((name) => ({
    text: `${before} ${name}`,
    help: "",
  }));
  return found.length > 0 ? found : [{ text: `${before} ${rest.at(-1) ?? ""}`, help: command.help }];
}

function namesOf({ status }: Pick<Model, "status">, kind: "instance" | "pool" | "any"): string[] {
  if (status === null) return [];
  const pools = status.pools.map(({ name }) => name);
  const instances = status.pools.flatMap((pool) => pool.instances.map(({ name }) => name));
  const balancers = ["balancer", ...status.balancers.map(({ name }) => name)];
  return kind === "pool" ? pools : kind === "instance" ? instances : [...pools, ...instances, ...balancers];
}

/** Returns the items that contain the letters of `typed` in this order, best first. */
function ranked<Item>(all: readonly Item[], typed: string, nameOf: (item: Item) => string): Item[] {
  return all
    .flatMap((item, at) => {
      const score = scoreOf(nameOf(item).toLowerCase(), typed.toLowerCase());
      return score === null ? [] : [{ item, score, at }];
    })
    .sort((a, b) => a.score - b.score || a.at - b.at)
    .slice(0, MOST)
    .map(({ item }) => item);
}

/** Returns 0 for the same word, 1 for a prefix, otherwise how far apart the letters are; null if letters are missing. */
function scoreOf(name: string, typed: string): number | null {
  if (name === typed) return 0;
  if (name.startsWith(typed)) return 1;
  let at = -1;
  let first = 0;
  for (const [index, letter] of [...typed].entries()) {
    at = name.indexOf(letter, at + 1);
    if (at < 0) return null;
    if (index === 0) first = at;
  }
  return 2 + (at - first) + first;
}

/** Returns the parsed command. Its name may be shortened or lack letters, if it is still unambiguous. */
export function commandOf(text: string, model: Pick<Model, "status">): Command {
  const [first = "", ...words] = text.trim().split(/ +/);
  if (first === "") return { do: "keys", keys: [] };
  const starting = COMMANDS.filter(({ name }) => name.startsWith(first));
  const command = COMMANDS.find(({ name }) => name === first) ?? (starting.length === 1 ? starting[0] : undefined);
  if (command === undefined) {
    const near = ranked(COMMANDS, first, ({ name }) => name).map(({ name }) => name);
    return {
      do: "problem",
      text: `no command ${first}${near.length === 0 ? "; Tab lists them" : ` (perhaps ${near.join(", ")})`}`,
    };
  }
  if (words.length < command.needed) return { do: "problem", text: `${command.name} ${command.help}` };
  for (const [at, kind] of command.arguments.entries()) {
    const word = words[at];
    if (word === undefined || kind === "number" || kind === "text") continue;
    if (!namesOf(model, kind).includes(word))
      return { do: "problem", text: `no ${kind === "any" ? "pool or instance" : kind} named ${word}` };
  }
  return command.run(words);
}
