/** `paceline page`: prints the address of the fleet's page with its token, or how to reach the page without one. */
import type { FleetChoice } from "../../fleet/api.js";
import { type DefineCommand, type JsonOption, withFleet, withJson } from "../options.js";
import { EXIT, print, printError, printJson } from "../output.js";

export const page: DefineCommand = (program, action) => {
  const command = program.command("page").description("print the address of the fleet's web page, with its token");
  withJson(withFleet(command)).action(
    action(async (options: FleetChoice & JsonOption) => {
      const { connectFleet } = await import("../../fleet/fleet.js");
      const fleet = await connectFleet(options);
      const { url, mayWrite } = await fleet.page();
      if (options.json) printJson({ url, mayWrite, controlSocket: fleet.controlSocket });
      else if (url !== null) print(url);
      else {
        printError(
          `the page has no address: set admin: { listen: "127.0.0.1:9090" } and reload, or forward the control socket from your own machine: ssh -N -L 127.0.0.1:9090:${fleet.controlSocket} HOST`,
        );
        return EXIT.failed;
      }
      return EXIT.done;
    }),
  );
};
