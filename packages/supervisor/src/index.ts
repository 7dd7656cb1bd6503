/** The public exports of the paceline package: the types of a config file. Importing it loads no other code. */
import type { FleetDocument } from "./config/schema.js";

/** The type of a paceline.config file's export. */
export type PacelineConfig = FleetDocument;

/** Returns `config` unchanged; lets an editor check its keys. */
export function defineConfig(config: PacelineConfig): PacelineConfig {
  return config;
}
