/**
 * Builds the single document of the page, `page.html`, from the compiled scripts, the styles and the frame in packages/supervisor/src/page.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { FIGURES } from "../packages/supervisor/dist/core/figures.js";

const SUPERVISOR = join(dirname(fileURLToPath(import.meta.url)), "../packages/supervisor");

/** @param target the file to write */
export async function buildPage(target) {
  const source = (name) => readFileSync(join(SUPERVISOR, "src/page", name), "utf8");
  const parts = { style: smallCss(source("page.css")), script: await script() };
  const html = smallHtml(source("page.html")).replace(/<(style|script)><\/\1>/g, (_, tag) => {
    const content = parts[tag];
    if (content.includes(`</${tag}`)) throw new Error(`the ${tag} of the page would end early`);
    return `<${tag}>${content}</${tag}>`;
  });
  writeFileSync(target, html);
}

const ENTRY = "\0page";

/** The order of the modules decides which names become the shortest: in this order, functions look alike and compress best. */
function entry() {
  return ["processes.js", "frame.js", "main.js"]
    .map((name) => `import ${JSON.stringify(join(SUPERVISOR, "dist/page", name))};`)
    .join("\n");
}

async function script() {
  const build = await rolldown({
    input: ENTRY,
    platform: "browser",
    plugins: [
      {
        name: "page",
        resolveId: (id) => (id === ENTRY ? id : null),
        load: (id) => (id === ENTRY ? entry() : id.endsWith("/core/figures.js") ? shownFigures() : null),
      },
    ],
  });
  const { output } = await build.generate({ format: "iife", minify: true, comments: false });
  await build.close();
  return output[0].code.trim();
}

/** The same as `figureOf` in core/figures.ts, which caches the parts of the keys because the dashboard reads thousands per second. */
const FIGURE_OF = `export const figureOf = ({ key }, process) => key.split(".").reduce((value, part) => value?.[part], process) ?? null;`;

/** The list of figures with the fields that the page shows: the other fields are for metrics and the terminal. */
function shownFigures() {
  const shown = FIGURES.map(({ key, titles, unit, ofSlot, isOptional, drop }) => {
    return { key, titles: ["", titles[1]], unit, ofSlot, isOptional, drop };
  });
  return `export const FIGURES = ${JSON.stringify(shown)};\n${FIGURE_OF}\n`;
}

function smallHtml(text) {
  return text.replace(/\n\s*/g, "");
}

/** Our own styles have no strings with spaces or comments in them. */
function smallCss(text) {
  return text
    .replace(/\/\*.*?\*\//gs, "")
    .replace(/\s+/g, " ")
    .replace(/ ?([{};,>]) ?/g, "$1")
    .replace(/: /g, ":")
    .replace(/\b0\./g, ".")
    .replaceAll(";}", "}")
    .trim();
}
