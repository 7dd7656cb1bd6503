/** The configuration as a JSON Schema, for editors of JSON and TOML files. It is generated from the schema and the rules about kinds. */
import { z } from "zod";
import { describeField } from "./fields.js";
import { KIND_NAMES, POOL_KINDS, REQUEST_KEYS } from "./kinds/index.js";
import { fleetSchema, ownPoolFields } from "./schema.js";

/** The parts of JSON Schema (draft 7) that occur here. */
export interface JsonSchema {
  [keyword: string]: unknown;
  type?: string | string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: JsonSchema[];
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
}

export function configJsonSchema(): JsonSchema {
  const made = z.toJSONSchema(fleetSchema, {
    target: "draft-7",
    io: "input",
    // The list to which a single text is converted; `refine` states its form.
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => refine(zodSchema as unknown as z.ZodType, jsonSchema as JsonSchema),
  }) as JsonSchema;
  const { $schema, properties = {}, ...rest } = made;
  const { pools = {} } = properties;
  const ofPool = kindRules();
  return {
    ...{ $schema, title: "Paceline", description: "The configuration of a Paceline fleet." },
    ...rest,
    properties: {
      $schema: { type: "string", description: "The JSON Schema of this file, for editors. Paceline ignores it." },
      ...properties,
      pools: {
        ...pools,
        propertyNames: { pattern: "^[a-z][a-z0-9-]{0,31}$" },
        additionalProperties: { ...(pools.additionalProperties as JsonSchema), ...ofPool },
      },
    },
    if: { required: ["pools"] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { properties: Object.fromEntries(Object.keys(ownPoolFields).map((key) => [key, false])) },
    else: ofPool,
  };
}

/** Completes the result of zod for a field: its description for people, and the forms that zod cannot express. */
function refine(zodSchema: z.ZodType, schema: JsonSchema): void {
  const { type } = zodSchema.def as { type: string };
  if (type === "pipe" && schema.items !== undefined) {
    const { items } = schema;
    delete schema.type;
    delete schema.items;
    schema.anyOf = [items as JsonSchema, { type: "array", items }];
  }
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.form === undefined) return;
  const { type: form, unit, default: byDefault, description } = describeField(zodSchema);
  const facts = [
    `Value: ${unit === undefined ? form : `${form}, ${unit}`}.`,
    ...(byDefault === undefined ? [] : [`Default: ${JSON.stringify(byDefault)}.`]),
  ];
  schema.description = `${withoutLinks(description)}\n\n${facts.join(" ")}`;
  if (byDefault !== undefined) schema.default = byDefault;
  delete schema.form;
  delete schema.unit;
}

/** An editor cannot follow a link that is relative to the documentation. */
function withoutLinks(markdown: string): string {
  return markdown.replace(/\[([^\]]*)\]\(([^)#]*)#?[^)]*\)/g, (_, text: string, page: string) => {
    const file = `docs/${page || "configuration.md"}`;
    return text === page ? file : `${text} (${file})`;
  });
}

/** A pool has exactly one kind, and only keys of that kind. */
function kindRules(): JsonSchema {
  const dependencies: Record<string, unknown> = {};
  for (const key of new Set(POOL_KINDS.flatMap(({ fields }) => Object.keys(fields)))) {
    const kinds = POOL_KINDS.filter(({ fields }) => key in fields).map(({ name }) => name);
    if (!kinds.includes(key)) dependencies[key] = { anyOf: kinds.map((name) => ({ required: [name] })) };
  }
  const withoutRequests = POOL_KINDS.filter(({ serves }) => serves === false).map(({ name }) => ({
    if: { required: [name] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { properties: Object.fromEntries(REQUEST_KEYS.map((key) => [key, false])) },
  }));
  return { oneOf: KIND_NAMES.map((name) => ({ required: [name] })), dependencies, allOf: withoutRequests };
}
