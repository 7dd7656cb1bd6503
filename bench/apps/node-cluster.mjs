/** The fleets' app with Node's cluster module: `BENCH_INSTANCES` workers that get connections in turn. */
import cluster from "node:cluster";

if (cluster.isPrimary) {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  for (let i = 0; i < Number(process.env.BENCH_INSTANCES); i++) cluster.fork();
} else {
  await import("./node-server.mjs");
}
