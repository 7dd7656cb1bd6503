/**
 * Elements as values, and the smallest change of the document that shows them: unchanged elements keep their focus, selection and scroll
 * position.
 */
import { visible } from "../core/words.js";

/** False and undefined: the attribute is absent. A function listens to the event of that name, as in `onclick`. */
export type AttributeValue = string | number | boolean | undefined | ((event: never) => void);

export interface Node {
  tag: string;
  /** Distinguishes siblings that may move. */
  key: string | undefined;
  attributes: Record<string, AttributeValue>;
  children: (Node | string)[];
}

export type Child = Node | string | number | boolean | null | undefined | readonly Child[];

/** Creates an element. The attribute `key` is not shown. */
export function h(tag: string, { key, ...attributes }: Record<string, AttributeValue> = {}, ...given: Child[]): Node {
  const children: Node["children"] = [];
  flatten(given, children);
  return { tag, key: key === undefined ? undefined : String(key), attributes, children };
}

function flatten(given: readonly Child[], into: Node["children"]): void {
  for (const child of given) {
    if (typeof child === "boolean" || child === null || child === undefined || child === "") continue;
    if (Array.isArray(child)) flatten(child, into);
    else into.push(typeof child === "object" ? (child as Node) : visible(String(child)));
  }
}

const SVG = "http://www.w3.org/2000/svg";
/** The node that each element created here shows. */
const shown = new WeakMap<Element, Node>();

/** Sets the children of `element`. */
export function show(element: Element, ...children: Child[]): void {
  const next: Node["children"] = [];
  flatten(children, next);
  patchChildren(element, shown.get(element)?.children ?? [], next);
  shown.set(element, { tag: "", key: undefined, attributes: {}, children: next });
}

function make(node: Node | string, parent: Element): Element | Text {
  if (typeof node === "string") return document.createTextNode(node);
  const isSvg = node.tag === "svg" || (parent.namespaceURI === SVG && parent.localName !== "foreignObject");
  const element = isSvg ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  patch(element, { tag: node.tag, key: undefined, attributes: {}, children: [] }, node);
  return element;
}

function patch(element: Element, before: Node, after: Node): void {
  for (const name of Object.keys(before.attributes))
    if (!(name in after.attributes)) setAttribute(element, name, undefined);
  for (const [name, value] of Object.entries(after.attributes))
    if (value !== before.attributes[name]) setAttribute(element, name, value);
  patchChildren(element, before.children, after.children);
  shown.set(element, after);
}

function setAttribute(element: Element, name: string, value: AttributeValue): void {
  if (name.startsWith("on")) {
    (element as unknown as Record<string, unknown>)[name] = typeof value === "function" ? value : null;
    return;
  }
  if (value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
  // The attribute is only the initial value of a field. Setting the value that it already has would move the caret.
  const field = element as HTMLInputElement;
  if (name === "value" && field.value !== String(value ?? "")) field.value = String(value ?? "");
}

function sameElement(before: Node | string | undefined, after: Node | string): boolean {
  if (before === undefined || typeof before === "string" || typeof after === "string")
    return typeof before === "string" && typeof after === "string";
  return before.tag === after.tag && before.key === after.key;
}

function patchChildren(element: Element, before: Node["children"], after: Node["children"]): void {
  const keyed = new Map<string, ChildNode>();
  const nodes = [...element.childNodes];
  for (const [at, child] of before.entries()) {
    const node = nodes[at];
    if (typeof child !== "string" && child.key !== undefined && node !== undefined) keyed.set(child.key, node);
  }
  const kept = new Set<ChildNode>();
  let place: ChildNode | null = nodes[0] ?? null;
  for (const [at, child] of after.entries()) {
    const node = nodeFor(child, at, before, nodes, keyed, kept) ?? make(child, element);
    kept.add(node);
    if (node === place) place = node.nextSibling;
    else element.insertBefore(node, place);
  }
  for (const node of nodes) if (!kept.has(node)) node.remove();
}

/** Returns the document's node that already shows the child, updated to its new state; undefined if there is none. */
function nodeFor(
  child: Node | string,
  at: number,
  before: Node["children"],
  nodes: readonly ChildNode[],
  keyed: ReadonlyMap<string, ChildNode>,
  kept: ReadonlySet<ChildNode>,
): ChildNode | undefined {
  const isKeyed = typeof child !== "string" && child.key !== undefined;
  const node = isKeyed ? keyed.get(child.key as string) : nodes[at];
  if (node === undefined || kept.has(node)) return undefined;
  if (typeof child === "string") {
    if (typeof before[at] !== "string") return undefined;
    if (node.nodeValue !== child) node.nodeValue = child;
    return node;
  }
  const former = shown.get(node as Element);
  if (former === undefined || !sameElement(former, child)) return undefined;
  patch(node as Element, former, child);
  return node;
}
