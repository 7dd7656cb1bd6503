/** The list of what a folder has, for people; every name in it is escaped. */
import { readEntries } from "./folder-entries.js";

/** More names than this are not listed: the list is for people, and the folder may have a million. */
export const MAX_LISTED = 10_000;

export interface ListedName {
  name: string;
  isFolder: boolean;
}

/** The names in a folder that may be shown, in order; what is neither a file nor a folder nor a link is left out. */
export function readListing(folder: string, dotfiles: boolean): { names: ListedName[]; isWhole: boolean } {
  const names: ListedName[] = [];
  let isWhole = true;
  readEntries(folder, (name, kind) => {
    if (kind === "other" || (!dotfiles && name.startsWith("."))) return true;
    isWhole = names.length < MAX_LISTED;
    if (isWhole) names.push({ name, isFolder: kind === "folder" });
    return isWhole;
  });
  return { names: sorted(names), isWhole };
}

function sorted(names: ListedName[]): ListedName[] {
  return names.sort((a, b) => Number(b.isFolder) - Number(a.isFolder) || (a.name < b.name ? -1 : 1));
}

/** @param title the folder's path as people know it. */
export function listingPage(title: string, names: readonly ListedName[], isRoot: boolean, isWhole: boolean): string {
  const rows = names.map(({ name, isFolder }) => {
    const slash = isFolder ? "/" : "";
    // `./` before it: a name with a colon would else be a scheme.
    return `<li><a href="./${encodeURIComponent(name)}${slash}">${escapeHtml(name)}${slash}</a></li>`;
  });
  if (!isRoot) rows.unshift('<li><a href="../">../</a></li>');
  if (!isWhole) rows.push(`<li>… and more: only ${MAX_LISTED} names are listed</li>`);
  const heading = `Index of ${escapeHtml(title)}`;
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${heading}</title></head>
<body><h1>${heading}</h1><ul>
${rows.join("\n")}
</ul></body>
</html>
`;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
