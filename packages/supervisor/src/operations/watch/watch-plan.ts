/** Decides which folders and files a fleet depends on, and which pools a change affects. Pure, except for paths. */
import { basename, dirname, relative, sep } from "node:path";
import type { FleetConfig } from "../../core/model.js";

/** Files that programs and editors write beside code. */
const NO_CODE = /\.(log|pid|sock|tmp|bak|orig|swp|db|sqlite3?)$|-(wal|shm|journal)$|~$|^#.*#$/;

/** Dependencies, and Python's compiled modules. */
const NO_CODE_FOLDERS: ReadonlySet<string> = new Set(["node_modules", "__pycache__"]);

/** The pools that a change affects. */
export type ChangedPools = "all" | readonly string[];

export class WatchPlan {
  /** The folders of the apps, watched with everything below them. */
  readonly roots: readonly string[];
  /** Files outside these folders: the config file and env files. */
  readonly files: readonly string[];
  private readonly poolsByRoot = new Map<string, string[]>();
  /** Folders of static files, whose changes need no restart. */
  private readonly served: string[] = [];
  private readonly poolsByFile = new Map<string, ChangedPools>();

  /**
   * @param configFile the file from which the config was read, if any
   * @param runDir the folder to which Paceline writes
   */
  constructor(
    { pools }: Pick<FleetConfig, "pools">,
    configFile: string | undefined,
    private readonly runDir: string,
  ) {
    for (const { name, kind, source, cwd, envFiles } of pools) {
      const isModule = kind === "worker" && source.startsWith(sep);
      if (kind === "app" || kind === "wsgi" || kind === "asgi" || kind === "fapws" || isModule) {
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

  /** Returns the pools that a change of `path` affects. If app folders are nested, the innermost one counts. */
  poolsOf(path: string): ChangedPools {
    const known = this.poolsByFile.get(path);
    if (known !== undefined) return known;
    if (this.isIgnored(path)) return [];
    const root = this.rootOf(path);
    return root === undefined ? [] : (this.poolsByRoot.get(root) as string[]);
  }

  /**
   * Whether `path` and everything below it is not app code. This includes dependencies, dot files, logs and databases, editor backups,
   * static files of a pool, and Paceline's own files.
   */
  isIgnored(path: string): boolean {
    if (path === this.runDir || path.startsWith(this.runDir + sep)) return true;
    const root = this.rootOf(path);
    const served = deepestOf(this.served, path);
    if (served !== undefined && served.length > (root?.length ?? -1)) return true;
    // An app may be in a folder below node_modules; only the path below the app's folder counts.
    const names = root === undefined || root === path ? [] : relative(root, path).split(sep);
    return names.some((name) => name.startsWith(".") || NO_CODE_FOLDERS.has(name)) || NO_CODE.test(basename(path));
  }

  private rootOf(path: string): string | undefined {
    return deepestOf(this.roots, path);
  }
}

/** Python searches modules from the working directory; for a script or file, also from its folder. */
function rootsOf(kind: string, source: string, cwd: string): string[] {
  const folder = dirname(source);
  if (kind === "app" || kind === "fapws" || kind === "worker") return [folder];
  return source.startsWith(sep) && deepestOf([cwd], folder) === undefined ? [cwd, folder] : [cwd];
}

/** Returns the innermost of the folders that contain `path`. */
function deepestOf(folders: readonly string[], path: string): string | undefined {
  let deepest: string | undefined;
  for (const folder of folders) {
    const holds = path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
    if (holds && folder.length > (deepest?.length ?? -1)) deepest = folder;
  }
  return deepest;
}

/** Combines the pools of two changes. */
export function union(one: ChangedPools, other: ChangedPools): ChangedPools {
  return one === "all" || other === "all" ? "all" : [...new Set([...one, ...other])];
}
