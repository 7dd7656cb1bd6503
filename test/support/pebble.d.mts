/** The types of pebble.mjs. */
export interface PebbleOptions {
  /** The port where it checks challenges: one of our listeners. */
  httpPort: number;
  tlsPort: number;
  /** For example PEBBLE_WFE_NONCEREJECT. */
  env?: Record<string, string>;
  config?: Record<string, unknown>;
}

export interface Pebble {
  directory: string;
  /** The file with the certificate of its own HTTPS. */
  caFile: string;
  /** Returns the root certificate that signs the issued ones; a new one with each start. */
  root(): Promise<string>;
  /** Stops it, and starts it again with the same ports. It forgets everything. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** The last part of its output. */
  output(): string;
}

export function startPebble(options: PebbleOptions, atEnd: (cleanUp: () => Promise<void>) => void): Promise<Pebble>;

export function writeCertificate(folder: string, name: string, days?: number): { cert: string; key: string };
