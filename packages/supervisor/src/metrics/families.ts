/** The metrics of a fleet: the values of a status document and the latency totals, as families. docs/metrics.md lists them. */
import { STATUS_CLASSES } from "@paceline/wire";
import type { BalancerStatus, InstanceStatus, PoolStatus, Status } from "../control/api.js";
import type { CertificateView } from "../core/certificates.js";
import { FIGURES, type Figure, figureOf } from "../core/figures.js";
import { serves } from "../core/serving.js";
import type { RouteTotal } from "../stats/totals.js";
import { LATENCY_BOUNDS, type LatencyTotals } from "../stats/totals.js";
import type { Family, HistogramSample, Sample } from "./exposition.js";

/** Returns the latency totals of the process in a slot; undefined if there is none. */
type LatenciesOf = (slot: string) => LatencyTotals | undefined;

type Labels = Sample["labels"];

/** A metric for each element of a list: a pool, an instance, a balancer. */
interface Metric<Of> {
  name: string;
  type: "gauge" | "counter";
  help: string;
  /** Null and undefined: there is no sample. */
  value(of: Of): number | null | undefined;
}

const FLEET: readonly Metric<Status>[] = [
  gauge("up", "1 while the fleet runs, 0 while it starts or stops.", ({ state }) => (state === "running" ? 1 : 0)),
  gauge("uptime_seconds", "Time since the fleet started.", ({ uptimeSeconds }) => uptimeSeconds),
  counter(
    "responses",
    "Responses of all balancers, and of instances in direct mode, to clients.",
    ({ requestsTotal }) => requestsTotal,
  ),
  counter("response_errors", "Responses of all balancers with status 500 or more.", ({ errorsTotal }) => errorsTotal),
  gauge(
    "resident_memory_bytes",
    "Resident memory (RSS) of all processes of the fleet; shared pages count in each.",
    ({ rssBytes }) => rssBytes,
  ),
  gauge(
    "cpu_ratio",
    "CPU time of all processes of the fleet in the last second or so; 1 is one core.",
    ({ cpuPercent }) => (cpuPercent == null ? null : cpuPercent / 100),
  ),
  gauge(
    "supervisor_resident_memory_bytes",
    "Resident memory (RSS) of the supervisor.",
    ({ supervisor }) => supervisor.rssBytes,
  ),
  gauge("locked", "1 while an operator has locked the fleet.", ({ lock }) => (lock === null ? 0 : 1)),
  gauge("problem", "1 while `paceline status` reports a problem of the fleet.", ({ problem }) =>
    problem === null ? 0 : 1,
  ),
];

const POOL: readonly Metric<PoolStatus>[] = [
  gauge("pool_instances_wanted", "Instances that the pool should have.", ({ wanted }) => wanted),
  gauge("pool_instances_ready", "Instances of the pool that are ready.", ({ ready }) => ready),
  gauge(
    "pool_instances_serving",
    "Instances of the pool that are ready and not drained.",
    ({ instances }) => instances.filter(serves).length,
  ),
  gauge(
    "pool_generation",
    "The generation of the pool; a reload or deploy increases it.",
    ({ generation }) => generation,
  ),
  counter(
    "pool_requests",
    "Requests of all processes that the pool has had, and those that a balancer itself responded to with status 500 or more.",
    ({ requestsTotal }) => requestsTotal,
  ),
  counter(
    "pool_errors",
    "Responses of the pool with status 500 or more, including those of the balancers themselves, such as 502 after a crash.",
    ({ errorsTotal }) => errorsTotal,
  ),
  gauge("pool_bodies_receiving", "Requests whose body is still arriving.", ({ receiving }) => receiving),
  gauge("pool_responses_sending", "Spooled responses that slow clients still read.", ({ sending }) => sending),
];

const INSTANCE: readonly Metric<InstanceStatus>[] = [
  gauge("instance_ready", "1 while the process in the slot is ready.", ({ state }) => (state === "ready" ? 1 : 0)),
  gauge("instance_drained", "1 while an operator has drained the instance.", ({ outOfTurn, weight }) =>
    weight === null ? null : outOfTurn === "drained" ? 1 : 0,
  ),
  gauge("instance_ejected", "1 while the instance is ejected.", ({ outOfTurn, weight }) =>
    weight === null ? null : outOfTurn === "ejected" ? 1 : 0,
  ),
  counter("ejections", "Ejections of the process by balancers.", ({ ejectionsTotal, weight }) =>
    weight === null ? null : ejectionsTotal,
  ),
  gauge("instance_weight", "The weight of the instance in its pool; the default is 100.", ({ weight }) => weight),
  counter("errors", "Responses of the process with status 500 or more.", ({ errorsTotal, requestsTotal }) =>
    requestsTotal === null ? null : errorsTotal,
  ),
  counter("recycles", "Replacements because of a limit such as maxRequests.", ({ recycles }) => recycles),
  gauge("event_loop_lag_seconds", "The longest delay of the event loop in the last second.", ({ eventLoopLagMs }) =>
    eventLoopLagMs === null ? null : eventLoopLagMs / 1000,
  ),
  gauge("heap_bytes", "The JavaScript heap of the process.", ({ heapBytes }) => heapBytes),
  gauge("stalled_seconds", "Time for which the process has not responded to the supervisor.", ({ stalledMs }) =>
    stalledMs === null ? 0 : stalledMs / 1000,
  ),
  counter("log_lines", "Lines that the slot's processes have written.", ({ linesTotal }) => linesTotal),
  counter("log_lines_lost", "Lines of the slot that came too fast and were lost.", ({ linesLost }) => linesLost),
];

const BALANCER: readonly Metric<BalancerStatus>[] = [
  gauge("balancer_ready", "1 while the balancer is ready.", ({ state }) => (state === "ready" ? 1 : 0)),
  gauge("balancer_connections", "Open connections of clients.", ({ connections }) => connections),
  counter(
    "balancer_accepted_connections",
    "Accepted connections of clients.",
    ({ connectionsTotal }) => connectionsTotal,
  ),
  counter("balancer_errors", "Responses with status 500 or more.", ({ errorsTotal }) => errorsTotal),
  counter("balancer_retries", "Requests that were sent to a further process.", ({ retriesTotal }) => retriesTotal),
  counter(
    "balancer_hedges",
    "Requests that were sent to two processes, with `hedge`.",
    ({ hedgesTotal }) => hedgesTotal,
  ),
  counter(
    "balancer_hedges_won",
    "Requests that the second of two processes served.",
    ({ hedgesWonTotal }) => hedgesWonTotal,
  ),
  counter(
    "balancer_unread_ended",
    "Connections that were reset because their peers read nothing and others needed the memory.",
    ({ unreadEndedTotal }) => unreadEndedTotal,
  ),
  counter(
    "balancer_no_room",
    "Requests that were refused or cut off because the balancer had no room for them, in memory or in the spool.",
    ({ noRoomTotal }) => noRoomTotal,
  ),
  gauge("balancer_spool_bytes", "Large bodies of slow clients on disk.", ({ spoolBytes }) => spoolBytes),
];

/** Returns all families of a fleet, always in the same order. */
export function familiesOf(
  status: Status,
  latenciesOf: LatenciesOf,
  routes: readonly RouteTotal[] = [],
  certificates: readonly CertificateView[] = [],
): Family[] {
  const pools = status.pools.map((pool) => ({ of: pool, labels: { pool: pool.name } }));
  const instances = status.pools.flatMap(({ name, instances }) =>
    instances.map((instance) => ({ of: instance, labels: { pool: name, process: instance.name } })),
  );
  const balancers = status.balancers.map((balancer) => ({ of: balancer, labels: labelsOfBalancer(balancer) }));
  const figures = (FIGURES as readonly Figure[]).filter(({ metric }) => metric !== undefined);
  const common = figures.filter(({ ofRequests }) => !ofRequests);
  const ofRequests = figures.filter((figure) => figure.ofRequests);
  return [
    buildInfo(status),
    ...families(FLEET, [{ of: status, labels: {} }]),
    ...families(POOL, pools),
    routeResponses(routes),
    routeLatencies(routes),
    certificateExpiry(certificates),
    processInfo(instances, balancers),
    ...families(common.map(metricOf), [...instances, ...balancers]),
    ...families(ofRequests.map(metricOf), instances),
    ...families(INSTANCE, instances),
    instanceResponses(instances),
    latencyFamily("request_duration_seconds", "The time of a request in the process.", instances, latenciesOf),
    ...families(
      ofRequests.map(metricOf).map((metric) => ({ ...metric, name: `balancer_${metric.name}` })),
      balancers,
    ),
    ...families(BALANCER, balancers),
    latencyFamily(
      "balancer_request_duration_seconds",
      "The time of a request in the balancer.",
      balancers,
      latenciesOf,
    ),
  ];
}

/** A balancer also has the label `pool`, so that one query covers all processes. No pool can have this name. */
function labelsOfBalancer({ name }: BalancerStatus): Labels {
  return { pool: "balancer", process: name };
}

/** The pool is empty for requests without a route. */
function labelsOfRoute({ pool, route, access }: RouteTotal): Labels {
  return { pool, route, access };
}

function routeResponses(routes: readonly RouteTotal[]): Family {
  const samples = routes.flatMap((total) =>
    STATUS_CLASSES.map((status, at) => {
      const labels = { ...labelsOfRoute(total), status };
      return { labels, value: total.counts[at] ?? 0 };
    }),
  );
  const help =
    "Responses by route, method class and status class; abandoned: the client left before the response was complete.";
  return { name: "paceline_route_responses", type: "counter", help, samples };
}

/** All classes are always present, so that the number of series never grows. */
function instanceResponses(instances: readonly Labelled<InstanceStatus>[]): Family {
  const samples = instances.flatMap(({ of, labels }) =>
    of.weight === null
      ? []
      : STATUS_CLASSES.map((status) => ({ labels: { ...labels, status }, value: of.responses?.[status] ?? 0 })),
  );
  const help =
    "Responses of the process by status class, as the balancers count them; abandoned: the client left before the response was complete.";
  return { name: "paceline_instance_responses", type: "counter", help, samples };
}

function routeLatencies(routes: readonly RouteTotal[]): Family {
  const samples = routes.map((total) => ({
    labels: labelsOfRoute(total),
    ...{ bounds: LATENCY_BOUNDS, counts: total.latency.counts, sum: total.latency.sumSeconds },
  }));
  const help = "The time of a request in the balancer, by route and method class.";
  return { name: "paceline_route_duration_seconds", type: "histogram", help, samples };
}

/** Only certificates for names in the configuration, because clients can request any number of others. */
function certificateExpiry(certificates: readonly CertificateView[]): Family {
  const samples = certificates.flatMap(({ names, source, notAfter, isOnDemand }) =>
    isOnDemand ? [] : [{ labels: { name: names[0] ?? "", source }, value: (notAfter ?? 0) / 1000 }],
  );
  const help = "The expiry of the certificate in Unix time; 0 while there is none.";
  return { name: "paceline_certificate_expiry_timestamp_seconds", type: "gauge", help, samples };
}

/** The program of each process; its labels change only with its runtime. */
function processInfo(
  instances: readonly Labelled<InstanceStatus>[],
  balancers: readonly Labelled<BalancerStatus>[],
): Family {
  const samples = [...instances, ...balancers].map(({ of, labels }) => ({
    labels: { ...labels, runtime: of.runtime },
    value: 1,
  }));
  return { name: "paceline_process", type: "info", help: "The runtime of the process.", samples };
}

function buildInfo({ name, version, runtime }: Status): Family {
  const labels = { fleet: name, version, runtime };
  return {
    name: "paceline_build",
    type: "info",
    help: "The version and runtime of the supervisor.",
    samples: [{ labels, value: 1 }],
  };
}

function gauge<Of>(name: string, help: string, value: Metric<Of>["value"]): Metric<Of> {
  return { name, type: "gauge", help, value };
}

function counter<Of>(name: string, help: string, value: Metric<Of>["value"]): Metric<Of> {
  return { name, type: "counter", help, value };
}

function metricOf(figure: Figure): Metric<object> {
  const { name, type, help, scale = 1 } = figure.metric as NonNullable<Figure["metric"]>;
  const value = (process: object) => {
    const measured = figureOf(figure, process);
    if (measured === null) return null;
    if (typeof measured === "number") return measured * scale;
    return "jobs" in measured ? measured.jobs : null;
  };
  return { name, type, help, value };
}

interface Labelled<Of> {
  of: Of;
  labels: Labels;
}

function families<Of>(metrics: readonly Metric<Of>[], all: readonly Labelled<Of>[]): Family[] {
  return metrics.map(({ name, type, help, value }) => {
    const samples: Sample[] = [];
    for (const { of, labels } of all) {
      const measured = value(of);
      if (measured != null) samples.push({ labels, value: measured });
    }
    return { name: `paceline_${name}`, type, help, samples };
  });
}

function latencyFamily(
  name: string,
  help: string,
  all: readonly Labelled<{ name: string }>[],
  latenciesOf: LatenciesOf,
): Family {
  const samples: HistogramSample[] = all.flatMap(({ of, labels }) => {
    const totals = latenciesOf(of.name);
    return totals === undefined
      ? []
      : [{ labels, bounds: LATENCY_BOUNDS, counts: totals.counts, sum: totals.sumSeconds }];
  });
  return { name: `paceline_${name}`, type: "histogram", help, samples };
}
