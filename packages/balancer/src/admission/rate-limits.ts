/** Limits the rate of requests. Each rule has token buckets for addresses, field values or routes. */
import type { RateLimitRule } from "@paceline/wire";
import { ascii, equalsIgnoringCase } from "../http1/bytes.js";
import type { Forwarded, Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { networkOf } from "../http1/trusted-proxies.js";
import { findRoute } from "../routing/route.js";
import { Router } from "../routing/router.js";
import { BucketTable, NewKeys } from "./bucket-table.js";

export class RateLimits {
  private readonly rules: readonly Rule[];
  /** The fields of the response to the last request that was refused. */
  fields = "";

  constructor(
    rules: readonly RateLimitRule[],
    private readonly forwarded: Forwarded,
  ) {
    this.rules = rules.map((rule) => new Rule(rule));
  }

  /** Whether the request may pass. Takes a token of each matching rule, until a rule has none left. */
  admits(head: RequestHead, peer: Peer): boolean {
    const now = performance.now();
    for (const rule of this.rules) {
      const waitMs = rule.take(head, peer, this.forwarded, now);
      if (waitMs === 0) continue;
      this.fields = rule.fieldsFor(waitMs);
      return false;
    }
    return true;
  }
}

class Rule {
  private readonly buckets: BucketTable;
  /** Undefined if clients do not choose their keys, as in a rule by route. */
  private readonly newKeys: NewKeys | undefined;
  /** Undefined if the rule applies to every request. */
  private readonly routes: Router<true> | undefined;
  /** The field whose values identify clients, in lower case. */
  private readonly field: Uint8Array | undefined;

  constructor(private readonly rule: RateLimitRule) {
    const { by, name = "", requests, periodMs, burst, routes } = rule;
    const rate = { intervalMs: periodMs / requests, burst };
    this.buckets = new BucketTable(rate);
    if (by !== "route") this.newKeys = new NewKeys(rate);
    if (by === "header") this.field = ascii(name);
    if (routes !== undefined)
      this.routes = new Router(routes.map((text, ordinal) => ({ text, target: true as const, ordinal })));
  }

  /** Takes a token for this request. Returns 0, or the time until there is a token, in milliseconds. */
  take(head: RequestHead, peer: Peer, forwarded: Forwarded, now: number): number {
    const route = this.routes === undefined ? undefined : findRoute(this.routes, head);
    if (this.routes !== undefined && route === undefined) return 0;
    const key = this.rule.by === "route" ? `${route?.ordinal ?? 0}` : this.keyOf(head, peer, forwarded);
    if (key === undefined) return 0;
    if (this.buckets.find(key, now) && this.newKeys !== undefined) {
      const source = sourceOf(forwarded.fields(head, peer).client);
      // A source with too many new keys is limited by the bucket of its address alone.
      if (source !== undefined && source !== key && !this.newKeys.mayBring(source, now))
        return this.buckets.take(source, now);
    }
    return this.buckets.takeFound(now);
  }

  /** Returns the key that identifies the client; undefined if its address is unknown. */
  private keyOf(head: RequestHead, peer: Peer, forwarded: Forwarded): string | undefined {
    const { fields } = head;
    if (this.field !== undefined) {
      let found = -1;
      for (let i = 0; i < fields.count; i++) {
        const [start, end] = [fields.nameStart(i), fields.nameEnd(i)];
        if (end - start !== this.field.length || !equalsIgnoringCase(head.bytes, start, end, this.field)) continue;
        // If the field occurs twice, apps differ in which of the two they use.
        found = found === -1 ? i : -2;
      }
      if (found >= 0) return `=${fields.value(found)}`;
    }
    return networkOf(forwarded.fields(head, peer).client);
  }

  /** Returns the fields of draft-ietf-httpapi-ratelimit-headers-10, as lines. */
  fieldsFor(waitMs: number): string {
    const { by, name = by, requests, periodMs } = this.rule;
    const seconds = Math.max(1, Math.ceil(waitMs / 1000));
    return (
      `Retry-After: ${seconds}\r\n` +
      `RateLimit-Policy: "${name}";q=${requests};w=${Math.max(1, Math.ceil(periodMs / 1000))}\r\n` +
      `RateLimit: "${name}";r=0;t=${seconds}\r\n`
    );
  }
}

/** Returns an IPv4 address, or the first 48 bits of an IPv6 address: a site can use as many /64 networks as it likes (RFC 6177). */
function sourceOf(address: string): string | undefined {
  const network = networkOf(address);
  return network?.includes(":") ? `${network.split(":", 3).join(":")}/48` : network;
}
