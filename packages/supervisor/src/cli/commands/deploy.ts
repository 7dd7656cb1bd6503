/** `paceline deploy`: tries a release beside the one in service, then puts it into service or rolls it back. */
import { InvalidArgumentError, Option } from "commander";
import { PacelineError } from "../../errors.js";
import type { OperationOptions } from "../../fleet/api.js";
import type { FleetClient } from "../../fleet/fleet.js";
import { type DefineCommand, type DeployOptions, parseCount, withFleet, withTimeout } from "../options.js";

const STEERING = ["promote", "hold", "resume"] as const;

export const deploy: DefineCommand = (program, action) => {
  const command = program
    .command("deploy")
    .description("try a release beside the one in service, then put it in service or roll it back")
    .argument(
      "[release]",
      "the folder or config file of the release; default: the current target of the fleet's own path",
    )
    .option("--env-file <file>", "an env file for all pools, after their own")
    .addOption(
      new Option("--canary <share>", "the share of the requests that the release gets at first, such as 10%").argParser(
        parseShare,
      ),
    )
    .addOption(
      new Option(
        "--judge <seconds>",
        "the maximum time of the comparison, longer while a gross fault is possible; 0: none",
      ).argParser(parseTime),
    )
    .addOption(
      new Option("--on-no-traffic <what>", "what to do if there is no verdict in time").choices([
        "promote",
        "rollback",
      ]),
    )
    .addOption(
      new Option("--keep-warm <seconds>", "how long the old version stays ready for a rollback").argParser(parseTime),
    )
    .addOption(
      new Option("--steer <what>", "steer the deploy under way, as the dashboard's p, h and b do").choices([
        ...STEERING,
        "rollback",
      ]),
    )
    .option("--wait", "wait for the result (default)", true)
    .option("--no-wait", "return when the first instances are being started")
    .option("--json", "print each step as a line of JSON");
  withTimeout(withFleet(command)).action(
    action(async (release: string | undefined, options: DeployOptions) => {
      const { steer } = options;
      if (steer === undefined) {
        const { runDeploy } = await import("../run-deploy.js");
        return runDeploy(release, options);
      }
      if (release !== undefined) throw new PacelineError("usage", "--steer takes no release: one deploy is under way");
      const { operate } = await import("../operate.js");
      const run = (fleet: FleetClient, how: OperationOptions) =>
        steer === "rollback" ? fleet.rollback(how) : fleet.steerDeploy(steer, how);
      return operate(options, undefined, run, "the deploy");
    }),
  );
};

/** Parses `10%` or `10`. */
function parseShare(text: string): number {
  const percent = parseCount(text.replace(/%$/, ""));
  if (percent < 1 || percent > 100) throw new InvalidArgumentError("It must be from 1% to 100%.");
  return percent;
}

/** Parses seconds, for example `30s`, or minutes, for example `5m`. */
function parseTime(text: string): number {
  const [, number, unit] = /^(\d{1,5}(?:\.\d+)?)(s|m)?$/.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError("It must be a number of seconds, or of minutes such as 5m.");
  return Math.round(Number(number) * (unit === "m" ? 60_000 : 1000));
}
