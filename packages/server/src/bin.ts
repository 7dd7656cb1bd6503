#!/usr/bin/env node
/** The program of one server: an instance under a supervisor, or a standalone server on a port. */
import { BUN_ONE_READER, ChannelError, showTitle, survivesFullDisk, takeChildEnvironment } from "@paceline/wire";
import { runSupervised } from "./process/supervised.js";
import { errorLine, hintOnListening, ServerError } from "./shared/errors.js";

/** Mistakes in the command line, or in the app that it names. */
const MISTAKES: ReadonlySet<ServerError["code"]> = new Set([
  "usage",
  "app-not-found",
  "app-unusable",
  "static-unusable",
  "proxy-unusable",
]);
const ERRORS_OF_THE_APP: ReadonlySet<ServerError["code"]> = new Set(["app-threw", "start-failed"]);

async function main(): Promise<void> {
  const identity = takeChildEnvironment();
  if (identity !== undefined) {
    survivesFullDisk();
    showTitle();
    await runSupervised(identity);
    return;
  }
  delete process.env[BUN_ONE_READER];
  const { parseArguments, USAGE } = await import("./arguments.js");
  const options = parseArguments(process.argv.slice(2));
  if (options === "help") {
    process.stdout.write(USAGE);
    return;
  }
  const { runStandalone } = await import("./standalone.js");
  await runStandalone(options);
}

main().catch((error: unknown) => {
  if (error instanceof ServerError && ERRORS_OF_THE_APP.has(error.code)) printErrorOfTheApp(error);
  else if (error instanceof ServerError || error instanceof ChannelError) console.error(`paceline: ${error.message}`);
  else console.error(error);
  process.exit(error instanceof ServerError && MISTAKES.has(error.code) ? 2 : 1);
});

/** The stack of the error says more than the server's own line. */
function printErrorOfTheApp({ cause }: ServerError): void {
  console.error(cause);
  const hint = hintOnListening(cause);
  if (hint !== "") console.error(`${errorLine(cause)}${hint}`);
}
