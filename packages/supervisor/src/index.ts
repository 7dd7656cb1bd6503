/** What programs may import from the paceline package: what gives a config file its types, so that importing it costs nothing. */
import type { FleetDocument } from "./config/schema.js";

/** The type of what a paceline.config file exports. */
export type PacelineConfig = FleetDocument;

/** Returns `config` as it is; an editor then knows its keys. */
export function defineConfig(config: PacelineConfig): PacelineConfig {
  return config;
}
