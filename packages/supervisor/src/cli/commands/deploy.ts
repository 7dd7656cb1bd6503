/** `paceline deploy`: tries a release beside the one in service, then puts it in service or takes it back. */
import { InvalidArgumentError, Option } from "commander";
import { type DefineCommand, type DeployOptions, parseCount, withFleet, withTimeout } from "../options.js";

export const deploy: DefineCommand = (program, action) => {
  const command = program
    .command("deploy")
    .description("try a release beside the one in service, then put it in service or take it back")
    .argument("[release]", "its folder or config file; default: where the fleet's own path leads now")
    .option("--env-file <file>", "an env file for all pools, after their own")
    .addOption(
      new Option("--canary <share>", "the share of the requests that it gets at first, such as 10%").argParser(
        parseShare,
      ),
    )
    .addOption(
      new Option(
        "--judge <seconds>",
        "how long it is compared at most, unless a gross fault is possible; 0: not at all",
      ).argParser(parseTime),
    )
    .addOption(new Option("--on-no-traffic <what>", "if there is no verdict in time").choices(["promote", "rollback"]))
    .addOption(
      new Option("--keep-warm <seconds>", "how long the former version stays ready for a rollback").argParser(
        parseTime,
      ),
    )
    .option("--wait", "wait for the result (default)", true)
    .option("--no-wait", "return when its first instances are being started")
    .option("--json", "print each step as a line of JSON");
  withTimeout(withFleet(command)).action(
    action(async (release: string | undefined, options: DeployOptions) => {
      const { runDeploy } = await import("../run-deploy.js");
      return runDeploy(release, options);
    }),
  );
};

/** Parses `10%` or `10`. */
function parseShare(text: string): number {
  const percent = parseCount(text.replace(/%$/, ""));
  if (percent < 1 || percent > 100) throw new InvalidArgumentError("It must be from 1% to 100%.");
  return percent;
}

/** Parses seconds such as `30s`, or minutes such as `5m`. */
function parseTime(text: string): number {
  const [, number, unit] = /^(\d{1,5}(?:\.\d+)?)(s|m)?$/.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError("It must be a number of seconds, or of minutes such as 5m.");
  return Math.round(Number(number) * (unit === "m" ? 60_000 : 1000));
}
