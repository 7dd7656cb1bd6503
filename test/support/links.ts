/** Finds links in Markdown pages that lead nowhere. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Returns each relative link of the pages in `folder` to a file or a heading that does not exist, as `page: link`. */
export function brokenLinks(folder: string, pages: readonly string[]): string[] {
  return pages.flatMap((page) => {
    const links = [...withoutCode(readFileSync(join(folder, page), "utf8")).matchAll(/\]\((?![a-z]+:)([^)\s]+)\)/g)];
    const broken = links.filter(([, link = ""]) => {
      const [file = "", anchor] = link.split("#");
      const path = file === "" ? join(folder, page) : join(folder, dirname(page), file);
      return !existsSync(path) || (anchor !== undefined && path.endsWith(".md") && !anchorsOf(path).has(anchor));
    });
    return broken.map(([, link]) => `${page}: ${link}`);
  });
}

const known = new Map<string, Set<string>>();

/** Returns the anchors of a page's headings, as GitHub and npm name them. */
function anchorsOf(path: string): Set<string> {
  let anchors = known.get(path);
  if (anchors !== undefined) return anchors;
  const headings = withoutCode(readFileSync(path, "utf8")).matchAll(/^#+ (.*)$/gm);
  const slug = (heading: string) =>
    heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_\- ]/gu, "")
      .replaceAll(" ", "-");
  anchors = new Set([...headings].map(([, heading = ""]) => slug(heading)));
  known.set(path, anchors);
  return anchors;
}

function withoutCode(text: string): string {
  return text.replace(/^```[\s\S]*?^```$/gm, "");
}
