/** `paceline schema`: prints the JSON Schema of config files, for editors. */
import type { DefineCommand } from "../options.js";
import { EXIT, printJson } from "../output.js";

export const schema: DefineCommand = (program, action) => {
  program
    .command("schema")
    .description("print the JSON Schema of JSON and TOML configs, for editors")
    .action(
      action(async () => {
        const { configJsonSchema } = await import("../../config/json-schema.js");
        printJson(configJsonSchema());
        return EXIT.done;
      }),
    );
};
