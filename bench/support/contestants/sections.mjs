/** The parts of the benchmark, each with its contestants. */
import { aloneContestants } from "./alone.mjs";
import { fileContestants } from "./files.mjs";
import { clusterFleet, httpProxyFleet, pm2Fleet } from "./node-fleets.mjs";
import { FLEET_VARIANTS, fleetContestant } from "./paceline.mjs";
import { haproxyFleet, nginxFleet } from "./proxies.mjs";

export const FLEET_SIZES = [2, 4, 16, 64];
const MEMORY_INSTANCES = 30;

function fleets(instances, programs, balancers) {
  return [
    ...FLEET_VARIANTS.map((variant) => fleetContestant(instances, variant, balancers)),
    nginxFleet(instances, balancers),
    haproxyFleet(instances, balancers),
    pm2Fleet(instances, programs),
    clusterFleet(instances),
    httpProxyFleet(instances, programs),
  ];
}

/** `balancers` is the number of balancing processes or threads of Paceline, nginx and HAProxy. */
export function allSections(programs, balancers) {
  return [
    { id: "alone", kind: "load", instances: 1, title: "One instance alone", contestants: aloneContestants(programs) },
    { id: "files", kind: "load", instances: 1, title: "A small file, served alone", contestants: fileContestants() },
    ...FLEET_SIZES.map((instances) => ({
      id: `fleet-${instances}`,
      kind: "load",
      instances,
      title: `A fleet of ${instances} instances`,
      contestants: fleets(instances, programs, balancers),
    })),
    {
      id: `memory-${MEMORY_INSTANCES}`,
      kind: "memory",
      instances: MEMORY_INSTANCES,
      title: `Memory of ${MEMORY_INSTANCES} instances`,
      contestants: fleets(MEMORY_INSTANCES, programs, balancers),
    },
  ];
}

/** Returns the short benchmark: one instance and the smallest fleet, compared with nginx and HAProxy. */
export function costSections(programs, balancers) {
  const sections = allSections(programs, balancers);
  const section = (id) => sections.find((each) => each.id === id);
  const keep = (section, names) => ({
    ...section,
    contestants: section.contestants.filter(({ name }) => names.includes(name)),
  });
  return [
    keep(section("alone"), ["paceline", "nginx"]),
    keep(section("files"), ["paceline", "nginx"]),
    keep(section("fleet-2"), ["paceline", "nginx", "HAProxy"]),
  ];
}

/**
 * Returns the sections with the contestants that can run here, and those that cannot with what they lack; `only` selects contestants whose
 * names contain one of its texts.
 */
export function select(sections, programs, only) {
  const missing = new Map();
  const selected = sections.map((section) => ({
    ...section,
    contestants: section.contestants.filter(({ name, needs }) => {
      if (only !== undefined && !only.some((part) => name.toLowerCase().includes(part.toLowerCase()))) return false;
      if (needs === undefined || programs.versions[needs] !== undefined) return true;
      missing.set(name, needs);
      return false;
    }),
  }));
  return {
    sections: selected.filter(({ contestants }) => contestants.length > 0),
    missing: Object.fromEntries(missing),
  };
}
