/** Idle connections that are kept for one client: what a stranger's response left behind there must reach nobody else. */

export interface KeptConnection {
  /** Identifies the upstream that it leads to. */
  readonly upstream: object;
  close(): void;
}

export class KeptConnections {
  /** One for each upstream at most, since a client has one request at a time. */
  private readonly kept: KeptConnection[] = [];

  add(connection: KeptConnection): void {
    this.kept.push(connection);
  }

  /** The connection to that upstream, if there is one. */
  find(upstream: object): KeptConnection | undefined {
    for (const connection of this.kept) if (connection.upstream === upstream) return connection;
    return undefined;
  }

  remove(connection: KeptConnection): void {
    const index = this.kept.indexOf(connection);
    if (index >= 0) this.kept.splice(index, 1);
  }

  closeAll(): void {
    for (const connection of [...this.kept]) connection.close();
  }
}
