/** What programs may import from the paceline package. */
export { defineConfig, type PacelineConfig } from "./config/define-config.js";
