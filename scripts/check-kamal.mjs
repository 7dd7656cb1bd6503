/**
 * Checks `paceline export kamal` with Kamal itself, for the examples and for configs with unusual names: `kamal config` accepts each
 * export, and the commands that Kamal makes of it, read by a shell, start the container that the export for Compose describes.
 *
 * npm run check:kamal -- ../kamal      a checkout of github.com/basecamp/kamal; needs ruby and its dependencies
 *
 * npm run check:kamal                  the gem that is installed
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { parse } from "yaml";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PACELINE = join(ROOT, "packages/supervisor/bin/paceline");
const TIMEOUT_MS = 60_000;

/** Prints the commands that Kamal runs on each machine, one per line: a name and the text for the shell. */
const COMMANDS = `
require "kamal"
# Kamal's commands use its methods, and nothing loads them before a command runs.
require "active_support/core_ext/object/blank"
require "json"
config = Kamal::Configuration.create_from(config_file: Pathname.new(ARGV[0]), version: "7")
out = config.roles.flat_map do |role|
  role.hosts.map do |host|
    app = Kamal::Commands::App.new(config, role: role, host: host)
    text = ->(command) { Array(command).flatten.compact.join(" ") }
    ssh = SSHKit::Host.new(host)
    { host: host, ssh: [ssh.hostname, ssh.port], role: role.name, run: text.(app.run), stop: role.stop_args.join(" "),
      deploy: role.running_proxy? ? text.(app.deploy(target: "TARGET")) : nil }
  end
end
puts JSON.generate(out)
`;

const READY = "/it's/$HOME/ready";
const SECRETS = ["token.txt", "a b.txt", "it's $HOME.txt", "<%= 1 %>.txt"];
const BOXES = ["--box", "east=10.0.0.5", "--box", "[fd00::1]:8081", "--box", "box3.example:8080"];

/** For each case, the arguments of `export` after its format. */
const CASES = [
  ...["hello", "express", "fastify", "hono", "koa", "timers", "websocket-echo"].map((name) => [`examples/${name}`]),
  ...["defer", "sse-chat", "static-site", "mail-queue"].map((name) => [`examples/${name}`]),
  ["examples/hello", "--image", "shop"],
  ["examples/hello", "--image", "registry.example:5000/team/shop:7", ...BOXES, "--instances", "3"],
  ["examples/hello", "--image", "ann/shop", "--listen", "0.0.0.0:80"],
  ["examples/hello", "--image", "localhost:5555/shop", "--listen", "[::]:8080", "--box", "127.0.0.1"],
  ["--worker", "examples/hello/app.ts"],
  ["--static", "examples/static-site/public"],
  ["--fapws", "examples/fapws/start.py"],
  ["odd/paceline.config.json", ...BOXES],
  ["odd/it's $HOME & co.config.json"],
  ["odd/paceline.config.json", "--name", "Ünïcode & <%= 1 %>"],
];

const place = process.argv[2];
const ruby = (...args) => {
  const library = place === undefined ? [] : ["-I", join(resolve(place), "lib")];
  return run("ruby", [...library, ...args], { KAMAL_REGISTRY_PASSWORD: "x" });
};
const program = place === undefined ? "kamal" : join(resolve(place), "bin/kamal");

function run(command, args, env = {}) {
  const options = { cwd: folder, encoding: "utf8", timeout: TIMEOUT_MS, stdio: ["ignore", "pipe", "pipe"] };
  const { status, stdout, stderr, error } = spawnSync(command, args, { ...options, env: { ...process.env, ...env } });
  return { status, stdout, output: error === undefined ? `${stdout}${stderr}`.trim() : error.message };
}

const folder = mkdtempSync(join(tmpdir(), "paceline-kamal-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const write = (name, text) => {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
};

function writeOdd() {
  for (const name of SECRETS) write(`odd/${name}`, "a secret");
  write("odd/.env", "PASSWORD=x\n");
  write("odd/app.mjs", "export default { fetch: () => new Response() };\n");
  const env = Object.fromEntries(SECRETS.map((file, at) => [`SECRET_${at}`, { file }]));
  const config = { name: "Shop & Co", app: "./app.mjs", listen: "10.0.0.5:80", env, envFiles: [".env"] };
  const balancer = { probes: { live: "/-/live", ready: READY }, preDrainMs: 4000 };
  write("odd/paceline.config.json", JSON.stringify({ ...config, balancer, drainTimeoutMs: 45_000 }));
  write("odd/it's $HOME & co.config.json", JSON.stringify({ ...config, balancer, listen: ":8080" }));
}

/** Returns the words of a command as a shell reads them. */
function words(text) {
  const file = write("command.sh", `docker() { printf '%s\\n' "$@"; }\n${text}\n`);
  const { status, stdout, output } = run("sh", [file], { HOME: "/another/home" });
  if (status !== 0) throw new Error(`sh: ${output}: ${text}`);
  return stdout.split("\n").slice(0, -1);
}

/** Returns the values of an option that may be repeated. */
const valuesOf = (all, option) => all.flatMap((word, at) => (all[at - 1] === option ? [word] : []));

function problemsIn(args) {
  try {
    return problemsOf(args);
  } catch (error) {
    return [error.message];
  }
}

/** Returns what is wrong with one export. @throws Error if a shell cannot read a command */
function problemsOf(args) {
  const problems = [];
  const expect = (what, actual, wanted) => {
    if (!isDeepStrictEqual(actual, wanted))
      problems.push(`${what}: ${JSON.stringify(actual)}, not ${JSON.stringify(wanted)}`);
  };
  const exported = (format, without = []) => {
    const kept = args.filter((word, at) => !without.includes(word) && !without.includes(args[at - 1]));
    return run(PACELINE, ["export", format, ...kept.map((word) => word.replace(/^examples\//, `${ROOT}/$&`))]);
  };
  const { status, stdout, output } = exported("kamal");
  if (status !== 0) return [`export: ${output}`];
  const file = write("config/deploy.yml", stdout);
  write(".kamal/secrets", "KAMAL_REGISTRY_PASSWORD=x\n");
  const config = ruby(program, "config", "--config-file", file, "--version", "7");
  if (config.status !== 0) return [`kamal config: ${config.output}`];
  const made = ruby("-e", COMMANDS, file);
  if (made.status !== 0) return [`kamal: ${made.output}`];
  const [service] = Object.values(parse(exported("compose", ["--box"]).stdout.replaceAll("$$", "$")).services);
  const grace = service.stop_grace_period.replace(/s$/, "");
  for (const { ssh, run: starting, stop, deploy } of JSON.parse(made.stdout)) {
    const all = words(starting);
    const image = all.findIndex((word) => word.endsWith(":7") && !word.startsWith("--"));
    const of = (option) => valuesOf(all.slice(0, image), option);
    const port = service.ports === undefined ? undefined : /:(\d+)$/.exec(service.ports[0])?.[1];
    expect("the arguments of the image", all.slice(image + 1), service.command.slice(1));
    expect("the grace period", of("--stop-timeout"), [grace]);
    const targets = of("--volume").map((word) => /^\/etc\/[a-z0-9-]+\/[-._a-zA-Z0-9]+:(.*):ro$/.exec(word)?.[1]);
    expect(
      "the files",
      targets,
      (service.secrets ?? []).map(({ target }) => target),
    );
    expect("the run directory", of("--env").includes(`PACELINE_RUN_DIR=${service.environment.PACELINE_RUN_DIR}`), true);
    // Without the proxy, Kamal stops a container itself.
    expect("how it is stopped", stop, deploy === null ? `-t ${grace}` : "");
    if (port === undefined) expect("the proxy", deploy, null);
    else {
      const proxied = words(deploy);
      expect("the target", proxied.includes(`--target=TARGET:${port}`), true);
      expect("the drain", proxied.includes(`--drain-timeout=${grace}s`), true);
      const wanted = args[0].startsWith("odd/") ? READY : "/";
      if (!proxied.includes(`--health-check-path=${wanted}`)) problems.push(`the health check: ${deploy}`);
      expect("the start", proxied.includes(`--deploy-timeout=${service.healthcheck.start_period}`), true);
    }
    if (!/^[\w.:-]+$/.test(ssh[0])) problems.push(`ssh to ${JSON.stringify(ssh)}`);
  }
  return problems;
}

const version = ruby("-e", 'require "kamal"; puts Kamal::VERSION');
if (version.status !== 0) {
  console.error(`Kamal does not run: ${version.output.split("\n").slice(0, 3).join("\n")}`);
  process.exit(1);
}
writeOdd();
let failed = 0;
for (const args of CASES) {
  const problems = problemsIn(args);
  if (problems.length > 0) failed++;
  console.log(
    `${problems.length === 0 ? "✓" : "✗"} ${args.join(" ")}${problems.map((each) => `\n    ${each}`).join("")}`,
  );
}
console.log(
  `Kamal ${version.stdout.trim()}: ${CASES.length - failed} of ${CASES.length} exports are read as they are meant`,
);
process.exitCode = failed === 0 ? 0 : 1;
