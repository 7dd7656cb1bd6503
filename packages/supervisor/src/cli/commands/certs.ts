/** `paceline certs`: lists the fleet's certificates, or renews automatic ones. */
import { Argument } from "commander";
import type { CertificateView } from "../../core/certificates.js";
import { PacelineError } from "../../errors.js";
import type { FleetChoice } from "../../fleet/api.js";
import {
  type DefineCommand,
  type JsonOption,
  milliseconds,
  type TimeoutOption,
  withFleet,
  withJson,
  withTimeout,
} from "../options.js";
import { EXIT, print, printJson } from "../output.js";

export const certs: DefineCommand = (program, action) => {
  const command = program
    .command("certs")
    .description("list certificates: names, issuer, time left, next renewal, last error; or renew automatic ones")
    .addArgument(new Argument("[renew]", "order anew now").choices(["renew"]))
    .argument("[name]", "the name whose certificate to renew; default: all automatic certificates");
  withTimeout(withJson(withFleet(command))).action(
    action(
      async (
        renew: "renew" | undefined,
        name: string | undefined,
        options: FleetChoice & JsonOption & TimeoutOption,
      ) => {
        if (renew !== undefined) {
          const { operate } = await import("../operate.js");
          return operate(options, undefined, (fleet, how) => fleet.renewCertificates(name, how), "the renewal");
        }
        if (name !== undefined) throw new PacelineError("usage", `certs ${name}: only "renew" takes a name`);
        const [{ connectFleet }, { formatCertificates }] = await Promise.all([
          import("../../fleet/fleet.js"),
          import("../format-certificates.js"),
        ]);
        const fleet = await connectFleet(options);
        const document = await fleet.document<{ certificates: CertificateView[] }>(
          "/v1/certificates",
          milliseconds(options.timeout),
        );
        if (options.json) printJson(document);
        else {
          print(formatCertificates(document.certificates, Date.now()));
          if (document.certificates.some(({ source }) => source === "internal")) {
            const hint = (await import("../../certificates/local-issuer.js")).trustHint(fleet.runDir);
            if (hint !== undefined) print(`\n${hint}`);
          }
        }
        return EXIT.done;
      },
    ),
  );
};
