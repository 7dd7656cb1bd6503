/** `paceline export systemd`: prints a unit with which systemd runs the fleet. */
import { Argument } from "commander";
import { type DefineCommand, type StartOptions, startOf } from "../options.js";
import { EXIT, print } from "../output.js";
import { originOf, withOrigin } from "../start-arguments.js";

export const exportUnit: DefineCommand = (program, action) => {
  withOrigin(
    program
      .command("export")
      .description("print a systemd unit that starts this fleet; the arguments are those of start")
      .addArgument(new Argument("<format>", "what to print").choices(["systemd"])),
  )
    .option("--user <name>", "the user who runs the fleet (default: the key user, or the owner of its folder)")
    .action(
      action(async (_format: string, given: string, args: string[], exportOptions: ExportOptions) => {
        const { target, options } = originOf(given, args, exportOptions);
        const { fleetUnit } = await import("../fleet-unit.js");
        const { name, text } = await fleetUnit(startOf(target, options), exportOptions.user);
        const install = `systemctl daemon-reload && systemctl enable --now ${name}`;
        print(`# /etc/systemd/system/${name}.service; then: ${install}\n${text.trimEnd()}`);
        return EXIT.done;
      }),
    );
};

interface ExportOptions extends StartOptions {
  user?: string;
}
