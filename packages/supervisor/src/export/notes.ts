/**
 * Comments about settings that an export cannot carry over, or that have another effect behind a proxy and in a container. A new comment is
 * an entry of NOTES.
 */
import type { FleetConfig } from "../core/model.js";
import { hostPort, isForAll, isLoopback, memoryOf, NOTICE_MS, stickyOf, tcpAddress } from "./facts.js";

/** `front`: a proxy in front of several machines; `container`: the fleet in an image. */
export type Place = "front" | "container";

interface Note {
  for: readonly Place[];
  /** Returns the comment; undefined if it does not apply. */
  text(config: FleetConfig): string | undefined;
}

const EVERYWHERE: readonly Place[] = ["front", "container"];

const NOTES: readonly Note[] = [
  {
    for: ["front"],
    text: (config) => {
      const address = tcpAddress(config);
      if (address === undefined)
        return "The fleet listens on unix sockets only: set `listen` to an address of each machine.";
      return isLoopback(address.host)
        ? `The fleet listens on ${hostPort(address.host, address.port)} only, which no other machine can reach: set \`listen\` to an address of each machine.`
        : undefined;
    },
  },
  {
    for: ["container"],
    text: (config) => {
      const address = tcpAddress(config);
      if (config.listen.length === 0) return undefined;
      return address === undefined || !isForAll(address.host)
        ? "`listen` of the config is for one machine: --listen replaces it in the container."
        : undefined;
    },
  },
  {
    for: EVERYWHERE,
    text: ({ listen }) => {
      const [, ...others] = listen;
      return others.length === 0 ? undefined : `Only one of the ${listen.length} addresses in \`listen\` is used here.`;
    },
  },
  {
    for: EVERYWHERE,
    text: ({ balancer, listen }) =>
      listen.length === 0 || balancer.probes?.ready !== undefined
        ? undefined
        : "There is no readiness probe: set `balancer.probes: true`. Without it only a refused connection shows that a machine is not ready.",
  },
  {
    for: ["front"],
    text: ({ balancer: { preDrainMs } }) =>
      preDrainMs >= NOTICE_MS
        ? undefined
        : `\`balancer.preDrainMs\` is ${preDrainMs}: with ${NOTICE_MS} or more, the front notices a stop before a socket closes, and loses no request.`,
  },
  {
    for: EVERYWHERE,
    text: ({ balancer, listen }) =>
      listen.length === 0 || balancer.trustedProxies.length > 0
        ? undefined
        : "`balancer.trustedProxies` is empty: add the address of the front, or your app sees the front in place of its clients.",
  },
  {
    for: EVERYWHERE,
    text: (config) => {
      const sticky = stickyOf(config);
      return sticky === undefined
        ? undefined
        : `The pool ${sticky.pool} is sticky: its clients also stay on a machine here. Sessions in memory end with their machine.`;
    },
  },
  {
    for: EVERYWHERE,
    text: ({ pools }) => {
      const scheduled = pools.filter(({ cron }) => cron !== null).map(({ name }) => name);
      return scheduled.length === 0
        ? undefined
        : `${list(scheduled)} runs at its times once on EACH machine or in each container: give it a fleet of its own that exists once.`;
    },
  },
  {
    for: EVERYWHERE,
    text: ({ pools }) => {
      const workers = pools.filter(({ serves, cron }) => !serves && cron === null).map(({ name }) => name);
      return workers.length === 0
        ? undefined
        : `The worker ${list(workers)} runs on every machine or in every container.`;
    },
  },
  {
    for: ["container"],
    text: (config) => {
      const { unlimited } = memoryOf(config);
      return unlimited.length === 0
        ? undefined
        : `No memory limit can be derived: ${list(unlimited)} has no \`maxMemoryMb\`. With it, Paceline recycles a process before the container is killed.`;
    },
  },
  {
    for: ["container"],
    text: ({ user }) =>
      user === null
        ? undefined
        : `The key \`user\` (${user.name}) needs root in the container; remove it, and let the image's USER be that user.`,
  },
  {
    for: ["container"],
    text: ({ balancer: { spoolDir } }) =>
      spoolDir === null ? undefined : `\`balancer.spoolDir\` is ${spoolDir}: mount a volume there.`,
  },
  {
    for: ["container"],
    text: ({ agentCheck }) =>
      agentCheck === null ? undefined : "`agentCheck` is for HAProxy in front of machines; nothing asks it here.",
  },
];

/** Returns the comments, one per line. */
export function notesFor(place: Place, config: FleetConfig): string[] {
  return NOTES.filter((note) => note.for.includes(place)).flatMap((note) => note.text(config) ?? []);
}

function list(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(", ");
}
