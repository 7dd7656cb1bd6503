/** Commonly used clients, each with the same operations, of which a round consists. */
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Session } from "./session.mjs";

const execute = promisify(execFile);
const COMMAND_TIMEOUT_MS = 300_000;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const EXAMPLE = here("../../../examples/object-store");

/** Debian's own aws, and not one of a Python that is installed elsewhere. */
const AWS = existsSync("/usr/bin/aws") ? "/usr/bin/aws" : "aws";
const PYTHON = "/usr/bin/python3";

function isInstalled(program) {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

/** Settings of the user who runs this must not affect the clients; rclone rejects a bundle of certificates. */
function environment(env) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("AWS_"));
  return { ...Object.fromEntries(own), ...env };
}

/**
 * The clients that are installed; the others are in `missing`, with how to install them.
 * @param place `url` of the store, `accessKey` and `secret`; `ca`, the authority of its certificate; `isVirtual`: buckets are
 *
 * subdomains; `wrap`, a command that runs another one; `isOneProcess`: all commands of awscli run in one process, which saves
 *
 * half a second of CPU time for each.
 */
export function programs(place, missing = []) {
  const all = [awscli(place), rclone(place), s3cmd(place), boto3(place), sdk(place)];
  return all.filter((program) => {
    if (program.isInstalled()) return true;
    missing.push(`${program.name} (${program.install})`);
    return false;
  });
}

/** Runs a program; rejects with its output if it fails. */
async function run({ wrap = [] }, program, args, env = {}, encoding = "utf8") {
  const [first, ...rest] = [...wrap, program, ...args];
  const options = { env: environment(env), timeout: COMMAND_TIMEOUT_MS, encoding, maxBuffer: 64 << 20 };
  return (await execute(first, rest, options)).stdout;
}

function awsEnvironment({ url, accessKey, secret, ca, isVirtual }) {
  return {
    ...{ AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secret, AWS_DEFAULT_REGION: "us-east-1" },
    ...(ca === undefined ? {} : { AWS_CA_BUNDLE: ca, NODE_EXTRA_CA_CERTS: ca }),
    // The SDK prints which Node it will need next year.
    NODE_NO_WARNINGS: "1",
    ...{ S3_URL: url, S3_STYLE: isVirtual ? "virtual" : "path" },
  };
}

function awscli(place) {
  const env = { ...awsEnvironment(place), AWS_CONFIG_FILE: here(place.isVirtual ? "aws-virtual.ini" : "aws-path.ini") };
  const { wrap = [], isOneProcess, secret } = place;
  const session = isOneProcess
    ? new Session([...wrap, PYTHON, here("python-verbs.py"), "awscli"], environment(env))
    : undefined;
  const aws = (more, ...args) => {
    const all = ["--endpoint-url", place.url, ...args];
    if (session === undefined) return run(place, AWS, all, { ...env, ...more });
    return session.call("aws", { AWS_SECRET_ACCESS_KEY: secret, ...more }, ...all);
  };
  const s3 = (...args) => aws({}, "s3", ...args);
  return {
    ...{ name: "awscli", install: "apt-get install awscli python3-boto3", isInstalled: () => isInstalled(AWS) },
    makeBucket: (bucket) => s3("mb", `s3://${bucket}`),
    put: (file, bucket, key) => s3("cp", "--only-show-errors", file, `s3://${bucket}/${key}`),
    get: (bucket, key, file) => s3("cp", "--only-show-errors", `s3://${bucket}/${key}`, file),
    range: (bucket, key, first, last, file) => {
      const range = `bytes=${first}-${last}`;
      return aws({}, "s3api", "get-object", "--bucket", bucket, "--key", key, "--range", range, file);
    },
    count: async (bucket) => (await s3("ls", "--recursive", `s3://${bucket}`)).trim().split("\n").length,
    upload: (folder, bucket) => s3("sync", "--only-show-errors", folder, `s3://${bucket}/tree`),
    download: (bucket, folder) => s3("sync", "--only-show-errors", `s3://${bucket}/tree`, folder),
    copy: (bucket, from, to) => s3("cp", "--only-show-errors", `s3://${bucket}/${from}`, `s3://${bucket}/${to}`),
    remove: (bucket, key) => s3("rm", `s3://${bucket}/${key}`),
    presignedGet: async (bucket, key) => (await s3("presign", `s3://${bucket}/${key}`)).trim(),
    wrongKeys: () => aws({ AWS_SECRET_ACCESS_KEY: "wrong" }, "s3", "ls"),
    close: () => session?.close(),
  };
}

function rclone(place) {
  const { url, accessKey, secret, ca, isVirtual } = place;
  const remote = { RCLONE_CONFIG_S_TYPE: "s3", RCLONE_CONFIG_S_PROVIDER: "Other", RCLONE_CONFIG_S_ENDPOINT: url };
  const env = {
    ...{ ...remote, RCLONE_CONFIG_S_ACCESS_KEY_ID: accessKey, RCLONE_CONFIG_S_SECRET_ACCESS_KEY: secret },
    ...{ RCLONE_CONFIG_S_FORCE_PATH_STYLE: `${!isVirtual}`, ...(ca === undefined ? {} : { RCLONE_CA_CERT: ca }) },
  };
  const call = (args, more = {}, encoding = "utf8") =>
    run(place, "rclone", [...args, "--config", "/dev/null"], { ...env, ...more }, encoding);
  const rclone = (...args) => call(args);
  return {
    ...{ name: "rclone", install: "apt-get install rclone", isInstalled: () => isInstalled("rclone") },
    makeBucket: (bucket) => rclone("mkdir", `s:${bucket}`),
    put: (file, bucket, key) => rclone("copyto", "--s3-upload-cutoff", "16M", file, `s:${bucket}/${key}`),
    get: (bucket, key, file) => rclone("copyto", `s:${bucket}/${key}`, file),
    range: async (bucket, key, first, last, file) => {
      const args = ["cat", "--offset", `${first}`, "--count", `${last - first + 1}`, `s:${bucket}/${key}`];
      writeFileSync(file, await call(args, {}, "latin1"), "latin1");
    },
    count: async (bucket) => (await rclone("lsf", "-R", "--files-only", `s:${bucket}`)).trim().split("\n").length,
    upload: (folder, bucket) => rclone("sync", folder, `s:${bucket}/tree`),
    download: (bucket, folder) => rclone("sync", `s:${bucket}/tree`, folder),
    copy: (bucket, from, to) => rclone("copyto", `s:${bucket}/${from}`, `s:${bucket}/${to}`),
    remove: (bucket, key) => rclone("deletefile", `s:${bucket}/${key}`),
    presignedGet: async (bucket, key) => (await rclone("link", `s:${bucket}/${key}`)).trim(),
    wrongKeys: () =>
      call(["lsd", "s:", "--retries", "1", "--low-level-retries", "1"], { RCLONE_CONFIG_S_SECRET_ACCESS_KEY: "wrong" }),
    close: () => undefined,
  };
}

function s3cmd(place) {
  const { url, accessKey, secret, ca, isVirtual } = place;
  const { host } = new URL(url);
  const args = [`--host=${host}`, `--host-bucket=${isVirtual ? "%(bucket)s." : ""}${host}`, "--config=/dev/null"];
  args.push(...(ca === undefined ? ["--no-ssl"] : ["--ssl", `--ca-certs=${ca}`]), "--no-progress");
  const call = (key, ...more) =>
    run(place, "s3cmd", [...args, `--access_key=${accessKey}`, `--secret_key=${key}`, ...more]);
  const s3cmd = (...more) => call(secret, ...more);
  return {
    ...{ name: "s3cmd", install: "apt-get install s3cmd", isInstalled: () => isInstalled("s3cmd") },
    makeBucket: (bucket) => s3cmd("mb", `s3://${bucket}`),
    put: (file, bucket, key) => s3cmd("put", file, `s3://${bucket}/${key}`),
    get: (bucket, key, file) => s3cmd("get", "--force", `s3://${bucket}/${key}`, file),
    count: async (bucket) => (await s3cmd("ls", "--recursive", `s3://${bucket}`)).trim().split("\n").length,
    upload: (folder, bucket) => s3cmd("sync", `${folder}/`, `s3://${bucket}/tree/`),
    download: async (bucket, folder) => {
      mkdirSync(folder, { recursive: true });
      await s3cmd("sync", `s3://${bucket}/tree/`, `${folder}/`);
    },
    copy: (bucket, from, to) => s3cmd("cp", `s3://${bucket}/${from}`, `s3://${bucket}/${to}`),
    remove: (bucket, key) => s3cmd("rm", `s3://${bucket}/${key}`),
    // Its `signurl` creates signatures of version 2, which are obsolete.
    wrongKeys: () => call("wrong", "ls"),
    close: () => undefined,
  };
}

const VERBS = ["makeBucket", "put", "get", "range", "count", "upload", "download", "copy", "remove"];
VERBS.push("presignedGet", "presignedPut", "wrongKeys");

/** A client that is a library, in a separate process. */
function library(place, command) {
  const session = new Session([...(place.wrap ?? []), ...command], environment(awsEnvironment(place)));
  const verbs = VERBS.map((verb) => [verb, (...args) => session.call(verb, ...args)]);
  return { ...Object.fromEntries(verbs), close: () => session.close() };
}

function boto3(place) {
  const isThere = () =>
    spawnSync(PYTHON, ["-c", "import importlib.util as u; exit(not u.find_spec('boto3'))"]).status === 0;
  const about = { name: "boto3", install: "apt-get install python3-boto3", isInstalled: isThere };
  return { ...about, ...library(place, [PYTHON, here("python-verbs.py"), "boto3"]) };
}

function sdk(place) {
  const isThere = () => existsSync(path.join(EXAMPLE, "node_modules/@aws-sdk/client-s3"));
  const about = { name: "@aws-sdk/client-s3", install: "node scripts/setup.mjs", isInstalled: isThere };
  return { ...about, ...library(place, [process.execPath, here("sdk-verbs.mjs"), EXAMPLE]) };
}

/** Sends a presigned request with the file `sent` as its body; returns the status and the body of the response. */
export async function byCurl(place, url, { sent, received }) {
  const args = ["-s", "--max-time", "120", "-o", received, "-w", "%{http_code}"];
  if (place.ca !== undefined) args.push("--cacert", place.ca);
  if (sent !== undefined) args.push("-T", sent);
  const status = Number(await run(place, "curl", [...args, url]));
  return { status, bytes: existsSync(received) ? readFileSync(received) : Buffer.alloc(0) };
}
