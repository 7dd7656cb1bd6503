export interface Place {
  url: string;
  accessKey: string;
  secret: string;
  ca?: string;
  isVirtual?: boolean;
  wrap?: string[];
  isOneProcess?: boolean;
}

export interface Program {
  name: string;
  close(): void;
}

export function programs(place: Place, missing?: string[]): Program[];
