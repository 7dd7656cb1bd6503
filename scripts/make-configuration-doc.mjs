/** Writes docs/configuration.md from the schema of the built supervisor package. */
import { writeFileSync } from "node:fs";
import { configurationDocument } from "../packages/supervisor/dist/config/document.js";

writeFileSync(new URL("../docs/configuration.md", import.meta.url), configurationDocument());
