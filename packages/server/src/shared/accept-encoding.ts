/** The client's preferences in Accept-Encoding (RFC 9110 §12.5.3). Pure. */

const ITEM = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?))?$/i;
/** Further items are ignored. */
const MAX_ITEMS = 32;

export class AcceptedCodings {
  private readonly weights = new Map<string, number>();

  constructor(value: string) {
    for (const item of value.split(",", MAX_ITEMS)) {
      const found = ITEM.exec(item.trim());
      if (found === null) continue;
      const [, name = "", weight] = found;
      const lower = name.toLowerCase();
      this.weights.set(lower === "x-gzip" ? "gzip" : lower, weight === undefined ? 1 : Math.min(1, Number(weight)));
    }
  }

  /** Returns the client's weight of a coding, from 0 to 1. */
  weightOf(coding: string): number {
    return this.weights.get(coding) ?? this.weights.get("*") ?? 0;
  }

  /** Whether an unencoded body is refused; if not mentioned, it is the fallback. */
  get refusesIdentity(): boolean {
    return (this.weights.get("identity") ?? this.weights.get("*")) === 0;
  }

  /** Returns those of `offered` that weigh at least as much as identity, best first. */
  best<C extends string>(offered: readonly C[]): C[] {
    const identity = this.weightOf("identity");
    return offered
      .filter((coding) => this.weightOf(coding) > 0 && this.weightOf(coding) >= identity)
      .sort((a, b) => this.weightOf(b) - this.weightOf(a));
  }
}
