/** What the importers must know of the machine and the project's files. */
export interface ProjectFacts {
  cpus: number;
  environment: Readonly<Record<string, string | undefined>>;
  /** Returns what is at a path, from the folder of the imported file. */
  look(path: string): "file" | "folder" | "nothing" | "other";
  /** Whether the file is text. */
  isText(path: string): boolean;
  /** Whether Paceline accepts the file as a module, also one without an extension. */
  isModule(path: string): boolean;
  /** The PORT in a file of NAME=value lines. */
  portIn(path: string): number | undefined;
  /** What the sources of a JavaScript program say: whether it serves, and the port it asks for. */
  scan(path: string): { serves: boolean; port?: number };
}
