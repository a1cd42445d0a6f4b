/** What the steps in a cluster have in common, whatever the event asks for. */
export interface KubeStepsOptions {
  readonly defaultNamespace: string;
  readonly fieldManager: string;
  /** Nothing is ever applied: what cannot be dry-run for want of rights is at least looked for. */
  readonly lookOnly?: boolean;
  /** Nothing is done as the agent's own account: an event says who is to do it, or ends. */
  readonly requireImpersonation?: boolean;
}
