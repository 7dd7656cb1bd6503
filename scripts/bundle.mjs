/** Bundles the programs into `packages/supervisor/dist`, laid out as in the published package. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { configJsonSchema } from "../packages/supervisor/dist/config/json-schema.js";
import { bundlePrograms } from "./bundling.mjs";
import { manPage } from "./man-page.mjs";
import { buildPage } from "./page-document.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const dist = join(root, "packages/supervisor/dist");

rmSync(join(dist, "programs"), { recursive: true, force: true });
await bundlePrograms(dist);
await buildPage(join(dist, "page.html"));

// A link, so that changed Python files need no build.
rmSync(join(dist, "python"), { force: true, recursive: true });
symlinkSync("../../server/python", join(dist, "python"));

mkdirSync(join(dist, "man"), { recursive: true });
writeFileSync(join(dist, "man/paceline.1"), manPage());
writeFileSync(join(dist, "schema.json"), `${JSON.stringify(configJsonSchema(), null, 2)}\n`);
