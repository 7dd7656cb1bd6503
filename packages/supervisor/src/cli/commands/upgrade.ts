/** `paceline upgrade`: this version's supervisor takes over from the running one; then balancers and instances are replaced. */
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, withFleet, withJson, withTimeout } from "../options.js";

export const upgrade: DefineCommand = (program, action) => {
  const command = program
    .command("upgrade")
    .description("let this version of Paceline take over the running fleet, without losing a request")
    .option("--supervisor-only", "do not replace the balancers and the instances")
    .option("--force", "even if this version already runs");
  withTimeout(withJson(withFleet(command))).action(
    action(async (options: OperateOptions & { supervisorOnly?: boolean; force?: boolean }) => {
      const [{ operate }, { upgradeFleet }] = await Promise.all([
        import("../operate.js"),
        import("../../fleet/upgrade-fleet.js"),
      ]);
      const { supervisorOnly, force, ...rest } = options;
      return operate(
        rest,
        undefined,
        (fleet, how) => upgradeFleet(fleet, { supervisorOnly, force, ...how }),
        "the upgrade",
      );
    }),
  );
};
