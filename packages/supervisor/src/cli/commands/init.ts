/** `paceline init`: writes a small config for the files that it finds in the folder. */
import { readdirSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { readRegularFile } from "@paceline/wire";
import { PacelineError } from "../../errors.js";
import { type DefineCommand, type JsonOption, withJson } from "../options.js";
import { EXIT, print, printError, printJson } from "../output.js";

export const init: DefineCommand = (program, action) => {
  const command = program
    .command("init")
    .description("write a small config for the app in this folder, with a comment on each line")
    .argument("[folder]", "the folder of the app", ".")
    .option("--force", "overwrite the config");
  withJson(command).action(
    action(async (given: string, { json, force }: JsonOption & { force?: boolean }) => {
      const [{ proposeFor }, { scanSources }, { importableIn, saveConfig }, { entryKindOf }] = await Promise.all([
        import("../../import/project.js"),
        import("../../import/sources.js"),
        import("../save-config.js"),
        import("../../config/find.js"),
      ]);
      const folder = resolve(given);
      if (entryKindOf(folder) !== "folder")
        throw new PacelineError(
          "usage",
          `${given}: there is no such folder; init takes a folder and detects the app in it`,
        );
      const importable = importableIn(folder);
      if (importable !== undefined)
        throw new PacelineError(
          "usage",
          `${join(given, importable)} exists: to use its settings, run \`paceline import ${join(given, importable)}\``,
        );
      const at = (path: string) => join(folder, path);
      const proposal = proposeFor({
        isFile: (path) => entryKindOf(at(path)) === "file",
        text: (path) => read(at(path)),
        scan: (path) => scanSources(at(path)),
        names: readdirSync(folder),
      });
      if (proposal === undefined) {
        const message =
          entryKindOf(at("index.html")) === "file"
            ? `${join(given, "index.html")} is in a folder with files that must not be served, such as the config: move the site's files into ${join(given, "public")}, or run its build, then run init again`
            : `found no app in ${folder}; docs/configuration.md lists what a pool can run`;
        throw new PacelineError("usage", message);
      }
      const { found, keys, comments } = proposal;
      // A fleet that has only workers does not listen.
      const document = { ...(!("worker" in keys) && { listen: "127.0.0.1:8080" }), ...keys };
      const path = at(
        "wsgi" in keys || "asgi" in keys || "fapws" in keys || "static" in keys
          ? "paceline.toml"
          : "paceline.config.mjs",
      );
      const head = [`Found: ${found}. Every key: docs/configuration.md.`];
      const said = { listen: 'where clients connect; ":8080" for other machines too', ...comments };
      const { problems } = await saveConfig(
        path,
        { head, document, comments: said },
        { force: force === true, isDefault: true, hasOutput: false },
      );
      if (json) printJson({ ok: problems.length === 0, file: path, found, config: document, problems });
      else {
        print(`wrote ${relative(process.cwd(), path)} for ${found}`);
        for (const problem of problems) printError(problem);
        const target = given === "." ? "" : ` ${given}`;
        print(
          problems.length > 0
            ? `correct ${basename(path)}, then: paceline check${target}`
            : `next: paceline start${target}`,
        );
      }
      return problems.length > 0 ? EXIT.failed : EXIT.done;
    }),
  );
};

/** The maximum size in bytes of a file that init reads. */
const MAX_BYTES = 1 << 20;

function read(path: string): string {
  try {
    return readRegularFile(path, { maxBytes: MAX_BYTES }).toString();
  } catch {
    return ""; // The file is missing, not readable, or too large for its purpose.
  }
}
