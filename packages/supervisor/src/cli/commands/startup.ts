/** `paceline startup`: installs the systemd unit that starts the fleet on boot, or prints how to do it. */
import { type DefineCommand, type StartOptions, startOf, usualPort } from "../options.js";
import { EXIT, type ExitStatus, print } from "../output.js";
import { originOf, withOrigin } from "../start-arguments.js";

export const startup: DefineCommand = (program, action) => {
  withOrigin(
    program
      .command("startup")
      .description("start this fleet on boot: write and enable its systemd unit; the arguments are those of start"),
  )
    .option("--user", "for your own systemd, without root")
    .option("--run-as <name>", "the user who runs the fleet (default: the key user, or the owner of its folder)")
    .option("--remove", "disable and remove the unit; a running fleet is not stopped")
    .option("--root <folder>", "install below this folder, such as that of an image")
    .action(
      action(async (given: string, args: string[], startupOptions: StartupOptions) => {
        const { target, options } = originOf(given, args, startupOptions);
        return install(target, { ...(options as StartupOptions), defaultPort: usualPort() });
      }),
    );
};

interface StartupOptions extends StartOptions {
  user?: boolean;
  runAs?: string;
  remove?: boolean;
  root?: string;
}

/** @throws ConfigError, or PacelineError such as `usage` */
async function install(target: string, options: StartupOptions): Promise<ExitStatus> {
  const { user: isOwn = false, runAs, remove = false, root } = options;
  const { fleetUnit, unitName } = await import("../systemd-unit.js");
  const { placeFor, UnitFile, whyNotHere } = await import("../unit-file.js");
  const place = placeFor({ isOwn, root });
  const nobody = remove ? "root" : undefined;
  // The config of a fleet that is to be removed may be gone.
  const { name, text } =
    remove && options.name !== undefined
      ? { name: unitName(options.name), text: "" }
      : await fleetUnit(startOf(target, options), isOwn ? "manager" : (runAs ?? nobody));
  const unit = new UnitFile(name, place);
  const obstacle = whyNotHere(place, remove ? "remove" : "install");
  if (obstacle !== undefined) {
    print(obstacle);
    return EXIT.failed;
  }
  print(remove ? await unit.remove() : await unit.install(text));
  return EXIT.done;
}
