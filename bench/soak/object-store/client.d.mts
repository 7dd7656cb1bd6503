import type { Readable } from "node:stream";

export interface S3Response {
  status: number;
  headers: Record<string, string | undefined>;
  bytes: Buffer;
  text: string;
}

export interface SignOptions {
  query?: Record<string, string | number>;
  headers?: Record<string, string | number>;
  payloadHash?: string;
  host?: string;
  now?: Date;
}

export class S3 {
  constructor(options: { port: number; accessKey: string; secret: string; maxSockets?: number; timeoutMs?: number });
  sign(method: string, path: string, options?: SignOptions): { path: string; headers: Record<string, string | number> };
  presign(method: string, path: string, options?: SignOptions & { expires?: number }): string;
  request(
    method: string,
    path: string,
    options?: SignOptions & { body?: Buffer | string | Readable },
  ): Promise<S3Response>;
  send(method: string, path: string, headers?: Record<string, string | number>, body?: Buffer): Promise<S3Response>;
  close(): void;
}

export function valuesOf(text: string, element: string): string[];
