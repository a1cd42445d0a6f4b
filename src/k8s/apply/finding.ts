/** What the dry run of one object said. */
export interface Finding {
  /**
   * - `create`, `update`: what an apply would do; `update` also where nothing would change and that could not be proven.
   * - `recreate`: a field of it cannot be changed, and it may be deleted and made anew.
   * - `unchanged`: proven that an apply would change nothing.
   * - `unknown`: could not be dry-run, because an admission webhook refuses every dry run.
   * - `unjudged`: was only looked for, because the account may read and nothing else, and a dry run needs the right to do it.
   * - `unseen`: not even that, because it may not be read either.
   */
  readonly would: "create" | "update" | "recreate" | "unchanged" | "unknown" | "unjudged" | "unseen";
  /** Of the object as it stood; undefined for a new one. */
  readonly resourceVersion: string | undefined;
  readonly generation: number | undefined;
  /** Field managers whose fields are ours by history and have to be migrated before the apply. */
  readonly legacy: ReadonlySet<string>;
  /** Fields that are ignored are booked as ours, and have to be given up before the apply. */
  readonly gives?: boolean;
  /** Milliseconds of the monotonic clock. */
  readonly atMs: number;
}

/** Of an object that is not there and would be created. */
export function newFinding(atMs: number): Finding {
  return { would: "create", resourceVersion: undefined, generation: undefined, legacy: new Set(), atMs };
}

/** What a write of one object came to. */
export interface Written {
  readonly status: "created" | "updated" | "unchanged" | "recreated";
  /** Of the object after it. */
  readonly generation: number | undefined;
}
