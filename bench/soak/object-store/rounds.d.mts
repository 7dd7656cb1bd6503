import type { S3 } from "./client.mjs";
import type { Place, Program } from "./programs.mjs";

export interface Made {
  small: string;
  large: string;
  tree: string;
}

export function makeFiles(folder: string, size: { largeBytes: number; files: number }): Made;

export function fillBucket(s3: S3, bucket: string, count: number): Promise<void>;

export function round(
  program: Program,
  files: Made,
  options: {
    place: Place;
    bucket: string;
    full: string;
    listed: number;
    folder: string;
    phase: (name: string) => unknown;
  },
): Promise<{ name: string; ms: number; failure: string | undefined }[]>;
