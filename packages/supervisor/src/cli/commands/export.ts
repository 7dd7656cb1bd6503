/** `paceline export`: prints the files that other programs need to run the fleet, or to proxy for several. */
import { Argument } from "commander";
import { FORMATS, type FormatName } from "../../export/formats.js";
import type { ExportOptions } from "../export-fleet.js";
import { collect, type DefineCommand, startOf, usualPort } from "../options.js";
import { EXIT, print } from "../output.js";
import { originOf, withOrigin } from "../start-arguments.js";

export const exportUnit: DefineCommand = (program, action) => {
  withOrigin(
    program
      .command("export")
      .description(
        "print the files with which systemd or containers run this fleet, or those of a proxy in front of several machines",
      )
      .addArgument(new Argument("<format>", "what to print").choices(["systemd", ...Object.keys(FORMATS)])),
  )
    .option("--user <name>", "systemd: the user who runs the fleet (default: the key user, or the owner of its folder)")
    .option("--box <address>", "haproxy, nginx, kamal: a machine, such as box1=10.0.0.1:8080; may be repeated", collect)
    .option("--bind <address>", "haproxy, nginx: where the front listens (default: :80)")
    .option("--image <name>", "kubernetes, compose, kamal: the image that has the fleet's folder")
    .option("--workdir <path>", "kubernetes, compose: where that folder is in the image (default: /app)")
    .action(
      action(async (format: FormatName | "systemd", given: string, args: string[], exportOptions: ExportOptions) => {
        const { target, options } = originOf(given, args, exportOptions);
        const start = startOf(target, { ...options, defaultPort: usualPort() });
        print((await textOf(format, start, exportOptions)).trimEnd());
        return EXIT.done;
      }),
    );
};

async function textOf(
  format: FormatName | "systemd",
  start: ReturnType<typeof startOf>,
  options: ExportOptions,
): Promise<string> {
  const { exportFleet, refuseOptions } = await import("../export-fleet.js");
  refuseOptions(format, options);
  if (format !== "systemd") return exportFleet(format, start, options);
  const { fleetUnit } = await import("../systemd-unit.js");
  const { name, text } = await fleetUnit(start, options.user);
  const install = `systemctl daemon-reload && systemctl enable --now ${name}`;
  return `# /etc/systemd/system/${name}.service; then: ${install}\n${text}`;
}
