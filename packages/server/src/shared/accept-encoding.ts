/** What a client says of content codings in Accept-Encoding (RFC 9110 §12.5.3). Pure. */

const ITEM = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?))?$/i;
/** What comes behind so many is not read. */
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

  /** How much the client wants it, from 0 to 1. */
  weightOf(coding: string): number {
    return this.weights.get(coding) ?? this.weights.get("*") ?? 0;
  }

  /** Whether a body that is not encoded is refused; without a word of it, it is what is left when nothing else fits. */
  get refusesIdentity(): boolean {
    return (this.weights.get("identity") ?? this.weights.get("*")) === 0;
  }

  /** Of `offered`, best first and by weight: those that weigh at least what the body as it is does. */
  best<C extends string>(offered: readonly C[]): C[] {
    const identity = this.weightOf("identity");
    return offered
      .filter((coding) => this.weightOf(coding) > 0 && this.weightOf(coding) >= identity)
      .sort((a, b) => this.weightOf(b) - this.weightOf(a));
  }
}
