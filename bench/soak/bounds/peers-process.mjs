/** The peers of one row, in a separate process, until its input ends. Usage: peers-process.mjs ROW PORT SECONDS TLS-PORT. */
import { ROWS } from "./rows.mjs";

const [row, port, seconds, tlsPort] = process.argv.slice(2);

const stop = await ROWS[row].start({ port: Number(port), seconds: Number(seconds), tlsPort: Number(tlsPort) });
process.stdout.write("started\n");
process.stdin.resume().on("end", async () => {
  await stop();
  process.exit();
});
