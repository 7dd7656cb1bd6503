/** The peers of one row, in a process of their own, until its input ends: peers-process.mjs ROW PORT SECONDS. */
import { ROWS } from "./rows.mjs";

const [row, port, seconds] = process.argv.slice(2);

const stop = await ROWS[row].start({ port: Number(port), seconds: Number(seconds) });
process.stdout.write("started\n");
process.stdin.resume().on("end", async () => {
  await stop();
  process.exit();
});
