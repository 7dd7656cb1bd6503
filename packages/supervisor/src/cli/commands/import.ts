/** `paceline import`: writes a config from one of PM2, gunicorn, foreman or Heroku, and lists the settings that have no counterpart. */
import { basename, dirname, join, relative, resolve } from "node:path";
import { PacelineError } from "../../errors.js";
import type { Note } from "../../import/rules.js";
import {
  collect,
  type DefineCommand,
  type JsonOption,
  milliseconds,
  type TimeoutOption,
  withJson,
  withTimeout,
} from "../options.js";
import { EXIT, print, printError, printForeign, printJson } from "../output.js";

interface Options extends JsonOption, TimeoutOption {
  output?: string;
  stdout?: boolean;
  force?: boolean;
  only?: string[];
  env?: string;
  app?: string;
  python?: string;
}

export const importConfig: DefineCommand = (program, action) => {
  const command = program
    .command("import")
    .description("write a config from an ecosystem file of PM2, a Procfile, gunicorn.conf.py or Heroku's app.json")
    .argument("[file]", "the file; default: the first of these in this folder")
    .option(
      "-o, --output <file>",
      "write this .mjs, .js, .ts, .toml or .json file (default: paceline.config.mjs or paceline.toml beside it)",
    )
    .option("--stdout", "print the config instead of writing it")
    .option("--force", "overwrite the file")
    .option("--only <app>", "only this app of an ecosystem file; may be repeated", collect)
    .option("--env <name>", "add the variables of env_NAME of an ecosystem file")
    .option("--app <app>", "the app that gunicorn runs, such as mysite.wsgi:application")
    .option("--python <path>", "the Python interpreter that reads gunicorn.conf.py (default: python3)");
  withTimeout(withJson(command)).action(
    action(async (given: string | undefined, options: Options) => {
      const [{ importFile }, { findImportable, saveConfig }, { documentOf, writeConfig }] = await Promise.all([
        import("../../import/sources.js"),
        import("../save-config.js"),
        import("../../import/write-config.js"),
      ]);
      const file = given === undefined ? findImportable(process.cwd()) : resolve(given);
      if (options.output !== undefined && dirname(resolve(options.output)) !== dirname(file))
        throw new PacelineError(
          "usage",
          `--output must be in ${dirname(file)}, since paths in a config are relative to its folder`,
        );
      const imported = await importFile(file, { ...options, timeoutMs: milliseconds(options.timeout) });
      const document = documentOf(imported);
      const head = [
        `From ${basename(file)}, by \`paceline import\`. Every key: docs/configuration.md.`,
        ...imported.notes.map(({ app, key, advice }) => `${place({ app, key })}: ${advice}`),
      ];
      const text = { head, document };
      if (options.stdout) {
        if (options.json) printJson({ ok: true, config: document, mapped: imported.mapped, notes: imported.notes });
        else {
          print(writeConfig(text, /\.py$|Procfile|app\.json$/.test(file) ? "toml" : "module").trimEnd());
          printForeign(`${formatNotes(imported.notes).join("\n")}\n`);
        }
        return EXIT.done;
      }
      const name =
        /\.[cm]?js$|\.json$|\.ya?ml$/.test(file) && basename(file) !== "app.json"
          ? "paceline.config.mjs"
          : "paceline.toml";
      const path = options.output === undefined ? join(dirname(file), name) : resolve(options.output);
      const { problems } = await saveConfig(path, text, {
        force: options.force === true,
        isDefault: options.output === undefined,
        hasOutput: true,
      });
      const { mapped, notes } = imported;
      if (options.json) printJson({ ok: problems.length === 0, file: path, config: document, mapped, notes, problems });
      else {
        const shown = relative(process.cwd(), path);
        print(`wrote ${shown}: ${Object.keys(imported.pools).join(", ")}`);
        if (notes.length > 0)
          print(["", "Without a counterpart, or not quite the same:", ...formatNotes(notes), ""].join("\n"));
        for (const problem of problems) printError(problem);
        const target = options.output === undefined && dirname(path) === process.cwd() ? "" : ` ${shown}`;
        print(
          problems.length > 0
            ? `correct it, then: paceline check${target}`
            : `next: paceline check${target}, then paceline start${target}`,
        );
      }
      return problems.length > 0 ? EXIT.failed : EXIT.done;
    }),
  );
};

function place({ app, key }: Pick<Note, "app" | "key">): string {
  return app === "" ? key : `${app}: ${key}`;
}

function formatNotes(notes: readonly Note[]): string[] {
  const width = Math.min(36, Math.max(0, ...notes.map((note) => place(note).length)));
  return notes.map((note) => `  ${place(note).padEnd(width)}  ${note.advice}`);
}
