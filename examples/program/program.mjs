// A program that starts a fleet, prints what happens to it, adds an instance each time that Enter is pressed, and stops it on Ctrl-C.
import { createInterface } from "node:readline";
import { createFleet } from "paceline";

const fleet = await createFleet({
  cwd: import.meta.dirname,
  config: {
    name: "program",
    listen: process.argv[2] ?? "127.0.0.1:8080",
    pools: { web: { app: "../hello/app.ts", instances: 2 } },
  },
});
const { listen } = await fleet.status();
console.log(`serves ${listen.join(", ")}; Enter adds an instance, Ctrl-C stops`);

const keys = createInterface({ input: process.stdin });
keys.on("line", () => fleet.scale("web", { by: 1 }).catch((error) => console.error(error.message)));
process.once("SIGINT", () => {
  keys.close();
  fleet.stop();
});

for await (const { level, subject, message } of fleet.events({ lines: 0 })) console.log(level, subject, message);
