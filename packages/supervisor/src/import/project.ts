/** Decides what `paceline init` writes for the files of a folder: the first match in a list. Pure. */
import { callableIn } from "../config/find.js";
import type { Keys } from "./rules.js";

interface FolderFacts {
  /** Whether a path below the folder is a file. */
  isFile(path: string): boolean;
  /** The text of a file; empty if it cannot be read. */
  text(path: string): string;
  /** Whether the sources of a JavaScript program show that it serves HTTP. */
  scan(path: string): { serves: boolean };
  /** The names of the folder's entries. */
  names: readonly string[];
}

interface Proposal {
  /** What was found, in a few words. */
  found: string;
  keys: Keys;
  /** Comments by key. */
  comments: Record<string, string>;
}

/** For each framework, the server that its build writes, and the command that runs it. */
const BUILDS: readonly { file: string; of: string; env?: Record<string, string> }[] = [
  { file: ".output/server/index.mjs", of: "Nuxt or Nitro", env: { NITRO_PORT: "{port}", NITRO_HOST: "{host}" } },
  { file: ".next/standalone/server.js", of: "Next.js, standalone", env: { HOSTNAME: "{host}" } },
  { file: "dist/server/entry.mjs", of: "Astro" },
  { file: "build/server/index.js", of: "React Router" },
  { file: "build/index.js", of: "SvelteKit" },
];

const MODULES = [
  "app",
  "index",
  "server",
  "main",
  "src/app",
  "src/index",
  "src/server",
  "src/main",
  "dist/index",
  "dist/server",
  "dist/main",
].flatMap((name) => [`${name}.ts`, `${name}.js`, `${name}.mjs`]);

/** Names of Python files that may contain an app; other files are tried after them. */
const PYTHON_FILES = ["app.py", "main.py", "wsgi.py", "asgi.py", "server.py"];
const MAX_PYTHON_FILES = 50;

/** Returns what should be started in the folder; undefined if nothing was recognised. */
export function proposeFor(facts: FolderFacts): Proposal | undefined {
  const finders = [
    djangoProject,
    pythonApp,
    frameworkBuild,
    packageMain,
    startScript,
    anyModule,
    binOfPackage,
    folderOfFiles,
  ];
  for (const find of finders) {
    const proposal = find(facts);
    if (proposal !== undefined) return proposal;
  }
  return undefined;
}

const INSTANCES = 'how many processes; "cpus" means one per processor';

function djangoProject({ isFile, names }: FolderFacts): Proposal | undefined {
  if (!isFile("manage.py")) return undefined;
  const project = names.find((name) => isFile(`${name}/wsgi.py`));
  if (project === undefined) return undefined;
  return python("a Django project", "wsgi", `${project}.wsgi:application`, isFile);
}

function pythonApp({ isFile, text, names }: FolderFacts): Proposal | undefined {
  const others = names.filter((name) => name.endsWith(".py") && !PYTHON_FILES.includes(name));
  for (const file of [...PYTHON_FILES, ...others].filter(isFile).slice(0, MAX_PYTHON_FILES)) {
    const source = text(file);
    if (/^\s*(?:import|from)\s+fapws\b/m.test(source)) return fapws(file);
    const found = callableIn(source) ?? conventionalIn(file, source);
    if (found !== undefined)
      return python(`${file}, a Python app`, found.kind, `${file.replace(/\.py$/, "")}:${found.name}`, isFile);
  }
  return undefined;
}

/** The name that servers read from wsgi.py and asgi.py, however it gets its value. */
function conventionalIn(file: string, source: string): ReturnType<typeof callableIn> {
  const kind = ({ "wsgi.py": "wsgi", "asgi.py": "asgi" } as const)[file];
  const name = /^(?:(?:async )?def |class |from .*\bimport\b.*\b)?(application|app)\s*(?:[=:(,]|$)/m.exec(source)?.[1];
  return kind === undefined || name === undefined ? undefined : { kind, name };
}

function fapws(file: string): Proposal {
  return {
    found: `${file}, a FAPWS start script`,
    keys: { fapws: `./${file}`, instances: 4 },
    comments: { fapws: "the start script; Paceline decides where it listens", instances: INSTANCES },
  };
}

function python(found: string, kind: "wsgi" | "asgi", app: string, isFile: FolderFacts["isFile"]): Proposal {
  const interpreter = [".venv/bin/python", "venv/bin/python"].find(isFile);
  return {
    found,
    keys: { [kind]: app, ...(interpreter !== undefined && { python: interpreter }), instances: 4 },
    comments: {
      [kind]:
        kind === "wsgi"
          ? "the WSGI callable, MODULE:NAME"
          : "the ASGI app, MODULE:NAME, run by your uvicorn or hypercorn",
      python: "the interpreter of the virtual environment",
      instances: INSTANCES,
    },
  };
}

function frameworkBuild({ isFile }: FolderFacts): Proposal | undefined {
  const build = BUILDS.find(({ file }) => isFile(file));
  if (build === undefined) return undefined;
  return {
    found: `the build of ${build.of}`,
    keys: { command: ["node", build.file], ...(build.env && { env: build.env }), instances: 2 },
    comments: {
      command: `the server that ${build.of} has built; it listens on the port in PORT, which Paceline sets`,
      env: "where it listens: {host} and {port} are set for each instance",
      instances: INSTANCES,
    },
  };
}

/** The module that the start script of package.json runs on Node or Bun; otherwise its main module if that serves. */
function packageMain(facts: FolderFacts): Proposal | undefined {
  const { isFile, text, scan } = facts;
  const { main, scripts } = manifestOf(text);
  const started = /^(?:NODE_ENV=\w+\s+)?(?:node|bun(?:\s+run)?|tsx)\s+(\.?[\w./-]+)$/.exec(scripts.start ?? "")?.[1];
  for (const given of [started, main]) {
    if (given === undefined) continue;
    const path = [given, `${given}.js`, `${given}/index.js`].find(
      (each) => /\.[cm]?[jt]sx?$/.test(each) && isFile(each),
    );
    if (path === undefined || (given !== started && !scan(path).serves)) continue;
    return module(
      given === started ? "the start script of package.json" : "the main module of package.json",
      path,
      facts,
    );
  }
  return undefined;
}

function startScript({ text }: FolderFacts): Proposal | undefined {
  const { scripts } = manifestOf(text);
  if (scripts.start === undefined) return undefined;
  return {
    found: "the start script of package.json",
    keys: { command: ["npm", "start"], instances: 1 },
    comments: { command: `runs \`${scripts.start}\`, which must listen on the port in PORT`, instances: INSTANCES },
  };
}

/** A module that serves is preferred to one that does not. */
function anyModule(facts: FolderFacts): Proposal | undefined {
  const paths = MODULES.filter(facts.isFile);
  const path = paths.find((each) => facts.scan(each).serves) ?? paths[0];
  return path === undefined ? undefined : module(path, path, facts);
}

/** A program of package.json, if it serves. Others are commands for a terminal. */
function binOfPackage(facts: FolderFacts): Proposal | undefined {
  const path = manifestOf(facts.text).bins.find((each) => facts.isFile(each) && facts.scan(each).serves);
  return path === undefined ? undefined : module("the bin of package.json", path, facts);
}

function module(found: string, path: string, { scan }: FolderFacts): Proposal {
  const file = `./${path.replace(/^\.\//, "")}`;
  if (!scan(path).serves)
    return {
      found: `${found}, which serves nothing over HTTP`,
      keys: { worker: file, instances: 1 },
      comments: { worker: "the module; if it does serve, write `app` instead", instances: INSTANCES },
    };
  return {
    found,
    keys: { app: file, instances: 4 },
    comments: { app: "the module: it exports an app, or calls listen()", instances: INSTANCES },
  };
}

function folderOfFiles({ isFile }: FolderFacts): Proposal | undefined {
  // This is never the folder itself, which contains the config, package.json and similar files.
  const folder = ["public", "dist", "build", "_site", "out"].find((each) => isFile(`${each}/index.html`));
  if (folder === undefined) return undefined;
  return {
    found: `${folder}/index.html`,
    keys: { static: `./${folder}` },
    comments: { static: "the folder whose files are served" },
  };
}

interface Manifest {
  main?: string | undefined;
  scripts: Record<string, string>;
  bins: string[];
}

function manifestOf(text: FolderFacts["text"]): Manifest {
  try {
    const { main, scripts, bin } = JSON.parse(text("package.json")) as Record<string, unknown>;
    const table = typeof scripts === "object" && scripts !== null ? (scripts as Record<string, string>) : {};
    const bins = typeof bin === "object" && bin !== null ? Object.values(bin) : [bin];
    return {
      ...{ main: typeof main === "string" ? main : undefined, scripts: table },
      bins: bins.filter((each) => typeof each === "string"),
    };
  } catch {
    return { scripts: {}, bins: [] };
  }
}
