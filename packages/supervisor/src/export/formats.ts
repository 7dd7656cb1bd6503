/** The registry of the formats of `paceline export`, except for the systemd unit. A new format is a file and a line here. */
import type { ExportInput } from "./facts.js";

interface Format {
  load(): Promise<(input: ExportInput) => string>;
  /** Whether it is for a proxy in front, which a fleet that does not listen cannot have. */
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
