/** The registry of policies. A new one is a file and a line here. */
import type { Policy } from "../pool.js";
import { RoundRobin } from "./round-robin.js";

export const POLICIES = {
  "round-robin": <C extends { readonly name: string }>(): Policy<C> => new RoundRobin<C>(),
} as const;

export type PolicyName = keyof typeof POLICIES;
