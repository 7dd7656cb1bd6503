/** The entry of a balancer process; the supervisor starts it. */
import { survivesFullDisk, takeChildEnvironment } from "@paceline/wire";
import { BalancerProcess, log } from "./process.js";
import { chooseTransport } from "./transport/choose.js";

survivesFullDisk();
const identity = takeChildEnvironment();
if (identity === undefined) {
  log("a balancer is started by `paceline start`, not by itself");
  process.exit(2);
}
new BalancerProcess(identity, await chooseTransport()).start();
