import type { Program } from "./programs.mjs";

export interface Made {
  small: string;
  large: string;
  tree: string;
}

export function makeFiles(folder: string, size: { largeBytes: number; files: number }): Made;

export function round(
  program: Program,
  files: Made,
  options: { bucket: string; full: string; listed: number; folder: string; phase: (name: string) => unknown },
): Promise<{ name: string; ms: number; failure: string | undefined }[]>;
