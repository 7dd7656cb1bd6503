/** Says of a native addon that Bun cannot load what to do about it, at the start and not with each request. */

const WHAT_TO_DO = 'it is a native addon for Node, which Bun cannot load: set runtime: "node" for this pool';
/** Their symbol names the version of V8's interface that an addon was compiled for; addons of Node-API have none. */
const REGISTRATION = /node_register_module_v(\d+)/;

const failed = new Set<string>();

/** Adds what to do to the errors of addons; to be called before an app is loaded. */
export function watchNativeAddons(): void {
  const load = process.dlopen;
  process.dlopen = function (this: unknown, ...args: Parameters<typeof load>) {
    try {
      return load.apply(process, args);
    } catch (error) {
      failed.add(args[1]);
      if (error instanceof Error) error.message += ` (${args[1]}: ${WHAT_TO_DO})`;
      throw error;
    }
  };
}

/**
 * An addon of a package that the app has loaded, which has not been asked for yet and is going to fail when it is; one that
 * has failed already, and did not end the app, is something that the app does without.
 */
export async function unusableAddon(modules: string[]): Promise<string | undefined> {
  const packages = new Set(modules.map((path) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? ""));
  packages.delete("");
  if (packages.size === 0) return undefined;
  // Rarely needed, so not loaded before.
  const { readdirSync, readFileSync } = await import("node:fs");
  for (const folder of packages) {
    for (const file of addonsIn(`${folder}/build/Release`)) {
      const version = REGISTRATION.exec(readFileSync(file, "latin1"))?.[1];
      if (version === undefined || version === process.versions.modules || failed.has(file)) continue;
      return `${file}: ${WHAT_TO_DO}`;
    }
  }
  return undefined;

  function addonsIn(path: string): string[] {
    try {
      return readdirSync(path).flatMap((name) => (name.endsWith(".node") ? [`${path}/${name}`] : []));
    } catch {
      return []; // Most packages have none.
    }
  }
}
