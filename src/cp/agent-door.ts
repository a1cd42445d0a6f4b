/** What an agent has to show at the listener that its socket came by. */
export type AgentDoor =
  /** Nothing: nobody is asked here who they are. */
  | { readonly kind: "open" }
  /** That it has the key of its certificate. */
  | {
      readonly kind: "proof";
      /** What the server's certificate is bound by on this listener; undefined where a proxy ends TLS, whose certificate we do not know. */
      readonly channel: string | undefined;
    }
  /** Nothing, but only agents that were named for it come in, and none that has enrolled. */
  | { readonly kind: "legacy" };

/** How a socket came in. */
export interface Arrival {
  readonly requestId: string;
  readonly door: AgentDoor;
  /** As far as a proxy that is trusted tells it; the socket's own where it is absent. */
  readonly address?: string;
}

/** Under which name those are counted that come by the same kind of door. */
export function wayOf(door: AgentDoor): string {
  return door.kind === "proof" && door.channel === undefined ? "proxied" : door.kind;
}
