/**
 * The object store of `examples/object-store` with real clients, kills, large objects and slow uploads.
 *
 * npm run soak:object-store -- --only clients,kills,large,slow,peers --kills 1000 --runtime bun
 * - clients: awscli, rclone, s3cmd, boto3 and AWS's SDK for JavaScript, those that are installed: each does its whole round while the
 *
 * pool is reloaded twice and an instance is killed during the upload in parts; `--variants plain,node,tls`: then on Node with
 *
 * PostgreSQL, and over TLS with buckets as hosts, which needs root.
 * - kills: concurrent puts of the same and of different keys while random instances are killed: every acknowledged object is there.
 * - large: 1 GB up and down, the memory of instance and balancer; the end of 10 GB.
 * - slow: 100 clients upload at 50 kB/s: the p99 of others with and without them.
 * - peers: 1 GB and many small objects in turns with `--s3rver FOLDER`, in which `npm install s3rver` was run, and `rclone serve s3`.
 *
 * `--postgres` or DATABASE_URL makes the store use PostgreSQL, Debian's or the one that is named. STORE_SOAK_FOLDER is where its folder is
 * created, for example a real disk.
 */
import { parseArgs } from "node:util";
import { clientsPart } from "./object-store/clients.mjs";
import { killsPart } from "./object-store/kills.mjs";
import { largePart } from "./object-store/large.mjs";
import { peersPart } from "./object-store/peers.mjs";
import { slowPart } from "./object-store/slow.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "clients,kills,large,slow,peers" },
    runtime: { type: "string", default: "bun" },
    kills: { type: "string", default: "1000" },
    // The mean time between two kills, in milliseconds.
    pause: { type: "string", default: "120" },
    programs: { type: "string", default: "" },
    megabytes: { type: "string", default: "1024" },
    seconds: { type: "string", default: "20" },
    s3rver: { type: "string", default: "" },
    variants: { type: "string", default: "plain,node,tls" },
    postgres: { type: "boolean", default: process.env.DATABASE_URL !== undefined },
  },
});
const options = {
  runtime: values.runtime,
  hasPostgres: values.postgres,
  kills: Number(values.kills),
  pauseMs: Number(values.pause),
  megabytes: Number(values.megabytes),
  seconds: Number(values.seconds),
  programs: values.programs.split(",").filter((name) => name !== ""),
  s3rver: values.s3rver,
  variants: values.variants.split(","),
};
const PARTS = { clients: clientsPart, kills: killsPart, large: largePart, slow: slowPart, peers: peersPart };
for (const name of values.only.split(",")) {
  if (PARTS[name] === undefined) throw new Error(`no part named ${name} (known: ${Object.keys(PARTS).join(", ")})`);
  process.stdout.write(`${name}, on ${values.runtime}\n`);
  await PARTS[name](options);
}
