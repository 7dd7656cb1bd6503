/** Which folders and files a fleet is made from, and which pools a change of one of them means. Pure but for paths. */
import { basename, dirname, relative, sep } from "node:path";
import type { FleetConfig } from "../../core/model.js";

/** What programs write beside code, and editors beside a file. */
const NO_CODE = /\.(log|pid|sock|tmp|bak|orig|swp|db|sqlite3?)$|-(wal|shm|journal)$|~$|^#.*#$/;

/** Dependencies, and what Python makes of modules as it loads them. */
const NO_CODE_FOLDERS: ReadonlySet<string> = new Set(["node_modules", "__pycache__"]);

/** The pools that a change means. */
export type ChangedPools = "all" | readonly string[];

export class WatchPlan {
  /** The folders of the apps, to be watched with all that is below them. */
  readonly roots: readonly string[];
  /** Files that lie anywhere: the config file and env files. */
  readonly files: readonly string[];
  private readonly poolsByRoot = new Map<string, string[]>();
  /** Folders of files that are served as they are: nothing starts anew when they change. */
  private readonly served: string[] = [];
  private readonly poolsByFile = new Map<string, ChangedPools>();

  /**
   * @param configFile where the config was read, if from a file
   * @param runDir where we write ourselves
   */
  constructor(
    { pools }: Pick<FleetConfig, "pools">,
    configFile: string | undefined,
    private readonly runDir: string,
  ) {
    for (const { name, kind, source, cwd, envFiles } of pools) {
      if (kind === "app" || kind === "wsgi" || kind === "asgi" || kind === "fapws") {
        for (const root of rootsOf(kind, source, cwd))
          this.poolsByRoot.set(root, [...(this.poolsByRoot.get(root) ?? []), name]);
      } else if (kind === "static") this.served.push(source);
      for (const file of envFiles) {
        this.poolsByFile.set(file, [...((this.poolsByFile.get(file) as string[] | undefined) ?? []), name]);
      }
    }
    if (configFile !== undefined) this.poolsByFile.set(configFile, "all");
    this.roots = [...this.poolsByRoot.keys()];
    this.files = [...this.poolsByFile.keys()];
  }

  /** The pools that a change of `path` means; of folders in each other, the innermost app is meant. */
  poolsOf(path: string): ChangedPools {
    const known = this.poolsByFile.get(path);
    if (known !== undefined) return known;
    if (this.isIgnored(path)) return [];
    const root = this.rootOf(path);
    return root === undefined ? [] : (this.poolsByRoot.get(root) as string[]);
  }

  /**
   * Whether what lies at `path`, and below it, is no code of an app: dependencies, what begins with a dot, logs and
   * databases, what editors leave beside a file, files that a pool serves, and what we write ourselves.
   */
  isIgnored(path: string): boolean {
    if (path === this.runDir || path.startsWith(this.runDir + sep)) return true;
    const root = this.rootOf(path);
    const served = deepestOf(this.served, path);
    if (served !== undefined && served.length > (root?.length ?? -1)) return true;
    // A folder below node_modules may have an app of its own; what leads to it does not matter then.
    const names = root === undefined || root === path ? [] : relative(root, path).split(sep);
    return names.some((name) => name.startsWith(".") || NO_CODE_FOLDERS.has(name)) || NO_CODE.test(basename(path));
  }

  private rootOf(path: string): string | undefined {
    return deepestOf(this.roots, path);
  }
}

/** Python finds the modules of a callable from the working directory, those of a script or file from its folder too. */
function rootsOf(kind: string, source: string, cwd: string): string[] {
  const folder = dirname(source);
  if (kind === "app" || kind === "fapws") return [folder];
  return source.startsWith(sep) && deepestOf([cwd], folder) === undefined ? [cwd, folder] : [cwd];
}

/** The innermost of the folders that hold `path`. */
function deepestOf(folders: readonly string[], path: string): string | undefined {
  let deepest: string | undefined;
  for (const folder of folders) {
    const holds = path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
    if (holds && folder.length > (deepest?.length ?? -1)) deepest = folder;
  }
  return deepest;
}

/** All that one or the other means. */
export function union(one: ChangedPools, other: ChangedPools): ChangedPools {
  return one === "all" || other === "all" ? "all" : [...new Set([...one, ...other])];
}
