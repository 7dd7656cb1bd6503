/** The clients that people use, each with the same verbs: what a round is made of. */
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const execute = promisify(execFile);
const COMMAND_TIMEOUT_MS = 300_000;
const SDK_VERSION = "3.1169.0";
const SDK_FOLDER = path.join(homedir(), ".cache/paceline-object-store");
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

function isInstalled(program) {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

/** Runs a program; rejects with its output if it fails. */
export async function run(program, args, env = {}, encoding = "utf8") {
  // Settings of whoever runs this are not for the store; rclone refuses a bundle of certificates.
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("AWS_"));
  const options = {
    env: { ...Object.fromEntries(own), ...env },
    timeout: COMMAND_TIMEOUT_MS,
    encoding,
    maxBuffer: 64 << 20,
  };
  const { stdout } = await execute(program, args, options);
  return stdout;
}

/** Debian's own, and not one of a Python that is installed elsewhere. */
const AWS = existsSync("/usr/bin/aws") ? "/usr/bin/aws" : "aws";
const PYTHON = "/usr/bin/python3";

/** The clients that are installed; the others are in `missing`, with how to install them. */
export function programs({ port, accessKey, secret }, missing = []) {
  const url = `http://127.0.0.1:${port}`;
  const keys = { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secret, AWS_DEFAULT_REGION: "us-east-1" };
  const all = [awscli(url, keys), rclone(url, accessKey, secret), s3cmd(port, accessKey, secret)];
  all.push(script("boto3", PYTHON, [here("boto3-verbs.py")], url, keys), sdk(url, keys));
  return all.filter((program) => {
    if (program.isInstalled()) return true;
    missing.push(`${program.name} (${program.install})`);
    return false;
  });
}

function awscli(url, keys) {
  const s3 = (...args) => run(AWS, ["--endpoint-url", url, "s3", ...args], keys);
  const api = (...args) => run(AWS, ["--endpoint-url", url, "s3api", ...args], keys);
  return {
    ...{ name: "awscli", install: "apt-get install awscli", isInstalled: () => isInstalled(AWS) },
    makeBucket: (bucket) => s3("mb", `s3://${bucket}`),
    put: (file, bucket, key) => s3("cp", "--only-show-errors", file, `s3://${bucket}/${key}`),
    get: (bucket, key, file) => s3("cp", "--only-show-errors", `s3://${bucket}/${key}`, file),
    range: (bucket, key, first, last, file) =>
      api("get-object", "--bucket", bucket, "--key", key, "--range", `bytes=${first}-${last}`, file),
    count: async (bucket) => (await s3("ls", "--recursive", `s3://${bucket}`)).trim().split("\n").length,
    upload: (folder, bucket) => s3("sync", "--only-show-errors", folder, `s3://${bucket}/tree`),
    download: (bucket, folder) => s3("sync", "--only-show-errors", `s3://${bucket}/tree`, folder),
    copy: (bucket, from, to) => s3("cp", "--only-show-errors", `s3://${bucket}/${from}`, `s3://${bucket}/${to}`),
    remove: (bucket, key) => s3("rm", `s3://${bucket}/${key}`),
    presignedGet: async (bucket, key) => (await s3("presign", `s3://${bucket}/${key}`)).trim(),
    wrongKeys: () => run(AWS, ["--endpoint-url", url, "s3", "ls"], { ...keys, AWS_SECRET_ACCESS_KEY: "wrong" }),
  };
}

function rclone(url, accessKey, secret) {
  const remote = { RCLONE_CONFIG_S_TYPE: "s3", RCLONE_CONFIG_S_PROVIDER: "Other", RCLONE_CONFIG_S_ENDPOINT: url };
  const env = { ...remote, RCLONE_CONFIG_S_ACCESS_KEY_ID: accessKey, RCLONE_CONFIG_S_SECRET_ACCESS_KEY: secret };
  const rclone = (...args) => run("rclone", [...args, "--config", "/dev/null"], env);
  return {
    ...{ name: "rclone", install: "apt-get install rclone", isInstalled: () => isInstalled("rclone") },
    makeBucket: (bucket) => rclone("mkdir", `s:${bucket}`),
    put: (file, bucket, key) => rclone("copyto", "--s3-upload-cutoff", "16M", file, `s:${bucket}/${key}`),
    get: (bucket, key, file) => rclone("copyto", `s:${bucket}/${key}`, file),
    range: async (bucket, key, first, last, file) => {
      const args = ["--offset", `${first}`, "--count", `${last - first + 1}`, `s:${bucket}/${key}`];
      writeFileSync(file, await run("rclone", ["cat", ...args, "--config", "/dev/null"], env, "latin1"), "latin1");
    },
    count: async (bucket) => (await rclone("lsf", "-R", "--files-only", `s:${bucket}`)).trim().split("\n").length,
    upload: (folder, bucket) => rclone("sync", folder, `s:${bucket}/tree`),
    download: (bucket, folder) => rclone("sync", `s:${bucket}/tree`, folder),
    copy: (bucket, from, to) => rclone("copyto", `s:${bucket}/${from}`, `s:${bucket}/${to}`),
    remove: (bucket, key) => rclone("deletefile", `s:${bucket}/${key}`),
    presignedGet: async (bucket, key) => (await rclone("link", `s:${bucket}/${key}`)).trim(),
    wrongKeys: () =>
      run("rclone", ["lsd", "s:", "--config", "/dev/null", "--retries", "1", "--low-level-retries", "1"], {
        ...env,
        RCLONE_CONFIG_S_SECRET_ACCESS_KEY: "wrong",
      }),
  };
}

function s3cmd(port, accessKey, secret) {
  const place = [`--host=127.0.0.1:${port}`, `--host-bucket=127.0.0.1:${port}`, "--no-ssl", "--config=/dev/null"];
  const with_ = (key) => [...place, `--access_key=${accessKey}`, `--secret_key=${key}`, "--no-progress"];
  const s3cmd = (...args) => run("s3cmd", [...with_(secret), ...args]);
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
    // Its `signurl` makes signatures of version 2, which nobody should.
    wrongKeys: () => run("s3cmd", [...with_("wrong"), "ls"]),
  };
}

/** A client that is a library: a script of ours runs one verb with its arguments. */
function script(name, program, before, url, keys) {
  const verb = (...args) => run(program, [...before, ...args.map(String)], { ...keys, S3_URL: url });
  return {
    name,
    install: name === "boto3" ? "apt-get install python3-boto3" : "--install",
    isInstalled: () => spawnSync(program, [...before, "check"]).status === 0,
    makeBucket: (bucket) => verb("makeBucket", bucket),
    put: (file, bucket, key) => verb("put", file, bucket, key),
    get: (bucket, key, file) => verb("get", bucket, key, file),
    range: (bucket, key, first, last, file) => verb("range", bucket, key, first, last, file),
    count: async (bucket) => Number(await verb("count", bucket)),
    upload: (folder, bucket) => verb("upload", folder, bucket),
    download: (bucket, folder) => verb("download", bucket, folder),
    copy: (bucket, from, to) => verb("copy", bucket, from, to),
    remove: (bucket, key) => verb("remove", bucket, key),
    presignedGet: async (bucket, key) => (await verb("presignedGet", bucket, key)).trim(),
    presignedPut: async (bucket, key) => (await verb("presignedPut", bucket, key)).trim(),
    wrongKeys: () =>
      run(program, [...before, "count", "none"], { ...keys, S3_URL: url, AWS_SECRET_ACCESS_KEY: "wrong" }),
  };
}

function sdk(url, keys) {
  return script("@aws-sdk/client-s3", process.execPath, [here("sdk-verbs.mjs"), SDK_FOLDER], url, keys);
}

/** Installs AWS's SDK outside of the repository: it is larger than everything else here. */
export function installSdk() {
  mkdirSync(SDK_FOLDER, { recursive: true });
  writeFileSync(path.join(SDK_FOLDER, "package.json"), '{ "private": true }\n');
  const names = ["client-s3", "lib-storage", "s3-request-presigner"].map((name) => `@aws-sdk/${name}@${SDK_VERSION}`);
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...names];
  if (spawnSync("npm", args, { cwd: SDK_FOLDER, stdio: "inherit" }).status !== 0) throw new Error("npm install failed");
}
