/** The keys of a pool that decide which of its instances gets a request, beside `sticky`: the policy and the backups. */
import type { StickyRule } from "@paceline/wire";
import { clientFieldRule, HOP_BY_HOP_FIELDS, POLICY_NAMES, type PolicyName } from "@paceline/wire";
import type { RelayTraits } from "../core/model.js";
import { count, textLike } from "./fields.js";

const NAME = "[!#$%&'*+.^`|~\\w-]{1,64}";
const HASH = `hash:(?:address|path|cookie:${NAME}|header:${NAME})`;
const POLICY = new RegExp(`^(?:${POLICY_NAMES.join("|")}|${HASH})$`);
const TYPE = [...POLICY_NAMES, "hash:address", "hash:path", "hash:cookie:NAME", "hash:header:NAME"];

const listed = (mark: string) => {
  const quoted = TYPE.map((each) => `${mark}"${each}"${mark}`);
  return `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
};

export const balancingFields = {
  policy: textLike(
    POLICY,
    { type: listed("`"), rule: `must be ${listed("")}` },
    'How the balancer picks an instance. `"round-robin"`: the next in turn; a request that would wait behind a busy instance goes to the first that is free, and if requests take long, to the instance with the fewest. `"exact"`: always the next in turn, however busy it is. `"least-busy"`: the one with the fewest requests in flight. `"random-two"`: of two at random, the one that responds faster and has fewer. `"hash:…"`: requests with the same address, path, cookie or field go to the same instance, unless that has much more than the others. Default: `"round-robin"`. See [balancing.md](balancing.md).',
  ),
  backups: count(
    0,
    "How many of the instances, the last ones, are backups: they get requests only while no other instance is ready and in turn. See [balancing.md](balancing.md#backups).",
    { min: 0, max: 1023 },
  ),
};

/** Returns what balancers must know of a pool's policy, or what is wrong with it. */
export function relayedPolicy(text: string): Pick<RelayTraits, "policy" | "sticky"> | string {
  if (!text.startsWith("hash:")) return text === "round-robin" ? {} : { policy: text as PolicyName };
  const [, by = "", name = ""] = text.split(":");
  switch (by as "address" | "path" | "cookie" | "header") {
    case "address":
    case "path":
      return { sticky: { by: by as "address" | "path", isLoose: true } };
    case "cookie":
      return { sticky: { by: "cookie-value", name, isLoose: true } };
    default: {
      const field = fieldRule(name);
      return typeof field === "string" ? field : { sticky: { ...field, isLoose: true } };
    }
  }
}

const NEVER_PASS: readonly string[] = [...HOP_BY_HOP_FIELDS, "content-length"];

/** Returns the rule that recognizes clients by a field, or why instances do not get that field from a client. */
export function fieldRule(name: string): StickyRule | string {
  const field = name.toLowerCase();
  const rule = clientFieldRule(field);
  if (rule === "made") return `cannot use ${name}, which Paceline makes itself: use "address" for the client's address`;
  if (rule === "never" || NEVER_PASS.includes(field)) return `cannot use ${name}: instances never get it from a client`;
  return { by: "header", name: field };
}
