/** Reads a configuration from its file, whatever its kind, with the line of each key where the kind can tell it. */
import { readFileSync } from "node:fs";
import { extname } from "node:path";
import * as jsonc from "jsonc-parser";
import { parse as parseToml, TomlError } from "smol-toml";
import { importConfig } from "./import-module.js";
import { ConfigError } from "./problems.js";

export interface ConfigDocument {
  value: unknown;
  /** The line of a key, from 1; undefined where it is not known. */
  lineOf(path: (string | number)[]): number | undefined;
}

const noLine = () => undefined;

/**
 * The content of the config file `file`, not yet checked.
 * @throws ConfigError when it cannot be read or parsed, or (a module) throws
 */
export async function readConfigFile(file: string): Promise<ConfigDocument> {
  switch (extname(file)) {
    case ".json":
      return parseJson(file, readText(file));
    case ".toml":
      return { value: readToml(file, readText(file)), lineOf: noLine };
    default:
      return { value: await importConfig(file), lineOf: noLine };
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    const message = `cannot be read: ${(error as Error).message}`;
    throw new ConfigError([{ file, path: [], message }], { cause: error });
  }
}

function parseJson(file: string, text: string): ConfigDocument {
  const errors: jsonc.ParseError[] = [];
  const options = { disallowComments: true, allowTrailingComma: false };
  const tree = jsonc.parseTree(text, errors, options);
  const [first] = errors;
  if (first !== undefined) {
    const what = jsonc.printParseErrorCode(first.error).replace(/(?<=.)[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    throw new ConfigError([
      { file, path: [], line: lineAt(text, first.offset), message: `is not valid JSON: ${what.toLowerCase()}` },
    ]);
  }
  const lineOf = (path: (string | number)[]) => {
    const node = tree === undefined ? undefined : jsonc.findNodeAtLocation(tree, path);
    return node === undefined ? undefined : lineAt(text, node.offset);
  };
  return { value: JSON.parse(text), lineOf };
}

function readToml(file: string, text: string): unknown {
  try {
    return parseToml(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The library's message goes on with a picture of the place.
    const message = `is not valid TOML: ${error.message.split("\n")[0]?.replace(/^Invalid TOML document: /, "")}`;
    throw new ConfigError([{ file, path: [], line: error.line, message }], { cause: error });
  }
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}
