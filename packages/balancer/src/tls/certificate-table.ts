/** Finds the certificate for the name that a client wants: the exact name, then a wildcard, then the first one. Pure. */

interface Named {
  readonly names: readonly string[];
}

export class CertificateTable<Entry extends Named> {
  private readonly byName = new Map<string, Entry>();

  /** @param entries of two with the same name, the first one counts */
  constructor(private readonly entries: readonly Entry[]) {
    for (const entry of entries)
      for (const name of entry.names) if (!this.byName.has(name)) this.byName.set(name, entry);
  }

  /** Whether a certificate is for this name. */
  has(name: string): boolean {
    return this.byName.has(name) || this.byName.has(wildcardOf(name));
  }

  /** @param name in lower case; empty without SNI, as for an IP address. Returns undefined if there is no certificate at all */
  find(name: string): Entry | undefined {
    const exact = this.byName.get(name);
    if (exact !== undefined || name === "") return exact ?? this.entries[0];
    return this.byName.get(wildcardOf(name)) ?? this.entries[0];
  }
}

/** A wildcard stands for one label (RFC 9525 §6.3). */
function wildcardOf(name: string): string {
  return `*${name.slice(name.indexOf("."))}`;
}
