/** The registry of what `paceline export` prints beside the systemd unit. A new format is a file and a line here. */
import type { ExportInput } from "./facts.js";

interface Format {
  load(): Promise<(input: ExportInput) => string>;
  /** Whether it is a proxy in front: a fleet that does not listen has none. */
  isFront: boolean;
}

export const FORMATS = {
  kubernetes: { load: async () => (await import("./kubernetes.js")).kubernetes, isFront: false },
  haproxy: { load: async () => (await import("./haproxy.js")).haproxy, isFront: true },
  nginx: { load: async () => (await import("./nginx.js")).nginx, isFront: true },
  compose: { load: async () => (await import("./compose.js")).compose, isFront: false },
  kamal: { load: async () => (await import("./kamal.js")).kamal, isFront: false },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof FORMATS;
