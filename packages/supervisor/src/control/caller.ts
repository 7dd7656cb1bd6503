/** Finds out who runs this process, as the history of a fleet names it. */
import { readFileSync } from "node:fs";
import type { Caller } from "../core/history.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** For each CI system, who runs a command and in which job. A new system is one line here. */
const CI_SYSTEMS: readonly { actor: string; job(environment: Environment): string | undefined }[] = [
  {
    actor: "GITHUB_ACTOR",
    job: ({ GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository, GITHUB_RUN_ID: run }) =>
      server && repository && run ? `${server}/${repository}/actions/runs/${run}` : undefined,
  },
  { actor: "GITLAB_USER_LOGIN", job: ({ CI_JOB_URL }) => CI_JOB_URL },
  { actor: "BUILDKITE_BUILD_CREATOR", job: ({ BUILDKITE_BUILD_URL }) => BUILDKITE_BUILD_URL },
  { actor: "CIRCLE_USERNAME", job: ({ CIRCLE_BUILD_URL }) => CIRCLE_BUILD_URL },
  { actor: "BUILD_USER_ID", job: ({ BUILD_URL }) => BUILD_URL },
];

/** The maximum lengths in characters, because a request with a long head would be refused. */
const MAX_NAME = 200;
const MAX_JOB = 400;

export function callerOf(environment: Environment = process.env): Caller {
  const system = CI_SYSTEMS.find(({ actor, job }) => environment[actor] || job(environment));
  const given = (text: string | undefined, max = MAX_NAME) => text?.slice(0, max) || null;
  return {
    uid: process.getuid?.() ?? null,
    user: nameOf(process.getuid?.()),
    sudoUser: given(environment.SUDO_USER),
    actor: given(environment.PACELINE_ACTOR) ?? given(system && environment[system.actor]),
    job: given(system?.job(environment), MAX_JOB),
    from: given(environment.SSH_CONNECTION?.split(" ")[0]),
    via: "command",
  };
}

/** Not os.userInfo(), which on Bun returns the variable USER. */
function nameOf(uid: number | undefined): string | null {
  if (uid === undefined) return null;
  try {
    const entries = readFileSync("/etc/passwd", "utf8").split("\n");
    const found = entries.map((entry) => entry.split(":")).find(([, , id]) => id === String(uid));
    return found?.[0] ?? null;
  } catch {
    return null; // Some containers have no such file.
  }
}

/** The field of a request to the control socket that names the caller. */
export const CALLER_FIELD = "paceline-caller";

/** Returns the caller as the value of that field: in ASCII. */
export function callerField(caller: Caller): string {
  return encodeURIComponent(JSON.stringify(caller));
}
