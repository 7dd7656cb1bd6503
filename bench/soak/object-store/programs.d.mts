export interface Program {
  name: string;
}

export function programs(store: { port: number; accessKey: string; secret: string }, missing?: string[]): Program[];
