/** The types of pebble.mjs. */
export interface PebbleOptions {
  /** Where it looks for challenges: our listeners. */
  httpPort: number;
  tlsPort: number;
  /** Such as PEBBLE_WFE_NONCEREJECT. */
  env?: Record<string, string>;
  config?: Record<string, unknown>;
}

export interface Pebble {
  directory: string;
  /** The file of the certificate of its own HTTPS. */
  caFile: string;
  /** Returns the root that signs what it issues; a new one with each start. */
  root(): Promise<string>;
  /** Ends it, and starts it again at the same place. It forgets everything. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** The end of what it has written. */
  output(): string;
}

export function startPebble(options: PebbleOptions, atEnd: (cleanUp: () => Promise<void>) => void): Promise<Pebble>;

export function writeCertificate(folder: string, name: string, days?: number): { cert: string; key: string };
