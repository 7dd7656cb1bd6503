/**
 * Generates the man page from the commands' definitions and from the tables in docs/cli.md about exit statuses and environment variables.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { commandLine } from "../packages/supervisor/dist/cli/program.js";
import { CONFIG_FILE_NAMES } from "../packages/supervisor/dist/config/find.js";
import { version } from "../packages/supervisor/dist/package.js";

/** Returns `paceline.1`, for man(1). SOURCE_DATE_EPOCH sets its date. */
export function manPage() {
  const program = commandLine(() => async () => {});
  const help = program.createHelp();
  const docs = readFileSync(new URL("../docs/cli.md", import.meta.url), "utf8");
  const epoch = process.env.SOURCE_DATE_EPOCH;
  const date = (epoch ? new Date(Number(epoch) * 1000) : new Date()).toISOString().slice(0, 10);
  const description = program.description().replace(/\.$/, "");
  return `${[
    `.TH PACELINE 1 ${date} "paceline ${version()}" "User Commands"`,
    ".SH NAME",
    `paceline \\- ${roff(description.charAt(0).toLowerCase() + description.slice(1))}`,
    ".SH SYNOPSIS",
    `${bold("paceline")} [${bold("-H")} ${italic("host")}] ${italic("command")} [${italic("options")}] [${italic("arguments")}]`,
    ".SH DESCRIPTION",
    text(
      "A fleet is started from a config file, an app module or a folder; the other commands find it from its folder and below.",
    ),
    ".SH OPTIONS",
    ...options(help, program),
    ".SH COMMANDS",
    ...help
      .visibleCommands(program)
      .filter((command) => command.name() !== "help")
      .flatMap((command) => section(help, command)),
    ".SH EXIT STATUS",
    ...table(docs, "| exit status | means |"),
    ".SH ENVIRONMENT",
    ...table(docs, "| variable | means |"),
    ".SH FILES",
    ...entry(bold(CONFIG_FILE_NAMES[0]), `The configuration; also ${CONFIG_FILE_NAMES.slice(1).join(", ")}.`),
    ".SH SEE ALSO",
    text("paceline COMMAND --help; the README and its documentation."),
  ].join("\n")}\n`;
}

function section(help, command) {
  const aliases = command.aliases();
  const also = aliases.length === 0 ? "" : ` Also: ${aliases.join(", ")}.`;
  const usage = help.commandUsage(command).replace(/^paceline (\S+?)(\|\S+)?( |$)/, "paceline $1$3");
  return [
    `.SS ${quoted(usage)}`,
    text(`${sentence(command.description())}${also}`),
    ...help
      .visibleArguments(command)
      .flatMap((argument) => entry(italic(argument.name()), help.argumentDescription(argument))),
    ...options(help, command),
  ];
}

function options(help, command) {
  return help
    .visibleOptions(command)
    .filter(({ long }) => long !== "--help")
    .flatMap((option) => entry(bold(help.optionTerm(option)), help.optionDescription(option)));
}

/** Returns the rows of a table with two columns. */
function table(markdown, head) {
  const from = markdown.indexOf(head);
  if (from < 0) throw new Error(`docs/cli.md has no table ${head}`);
  const [, , ...rows] = markdown.slice(from).split("\n\n")[0].split("\n");
  return rows.flatMap((row) => {
    const [, term = "", meaning = ""] = /^\| (.*?) \| (.*) \|$/.exec(row) ?? [];
    return entry(bold(plain(term)), plain(meaning));
  });
}

function plain(markdown) {
  return markdown
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replaceAll("`", "")
    .replaceAll("\\|", "|");
}

function entry(term, meaning) {
  return [".TP", term, text(sentence(meaning))];
}

function sentence(words) {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${words.endsWith(".") ? "" : "."}`;
}

/** A line of text must not look like a roff request. */
function text(words) {
  return roff(words).replace(/^([.'])/, "\\&$1");
}

function roff(words) {
  return words.replaceAll("\\", "\\e").replaceAll("-", "\\-");
}

function quoted(words) {
  return `"${roff(words).replaceAll('"', "\\(dq")}"`;
}

function bold(words) {
  return `\\fB${roff(words)}\\fR`;
}

function italic(words) {
  return `\\fI${roff(words)}\\fR`;
}
