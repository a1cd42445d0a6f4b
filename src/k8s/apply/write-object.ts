import { messageOf, TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { applyRefusal, metadataOf, provesNoChange, sendApply, type ApplyOptions } from "./apply-request.ts";
import { createObject } from "./create.ts";
import type { Finding, Written } from "./finding.ts";
import { type Ignored, ignoredOf } from "../ownership/ignore-fields.ts";
import { readMetadata, settleOwnership } from "../ownership/migrate.ts";
import type { PlannedObject } from "./plan.ts";
import { recreateObject } from "./recreate.ts";
import { explainImmutable, withTimes } from "./refusal.ts";
import { type Treatment, treatmentOf } from "../ownership/treatment.ts";

/** A proof that nothing would change is not acted on when it is older. */
const PROOF_MS = 30_000;

/** One object on its way into the cluster. */
class ObjectWrite {
  readonly #client: KubeClient;
  readonly #planned: PlannedObject;
  readonly #finding: Finding | undefined;
  readonly #options: ApplyOptions;
  readonly #treatment: Treatment;
  readonly #ignored: Ignored | undefined;

  constructor(
    client: KubeClient,
    planned: PlannedObject,
    finding: Finding | undefined,
    options: ApplyOptions,
    ignored: Ignored | undefined,
  ) {
    this.#client = client;
    this.#planned = planned;
    this.#finding = finding;
    this.#options = options;
    this.#treatment = treatmentOf(planned, options);
    this.#ignored = ignored;
  }

  async run(): Promise<Written> {
    const written = this.#finding?.would === "recreate" ? await this.#recreate() : await this.#apply();
    if (written.status === "created" || written.status === "recreated") await this.#giveUp();
    return written;
  }

  async #recreate(): Promise<Written> {
    return recreateObject(this.#client, this.#planned, this.#ignored, this.#asTreated());
  }

  #asTreated(): ApplyOptions {
    return { ...this.#options, forceConflicts: this.#treatment.forceConflicts };
  }

  async #apply(): Promise<Written> {
    const finding = this.#finding;
    const isNew = await this.#isNew();
    const settled = isNew || !this.#mustSettle() ? undefined : await this.#settle();
    const strict = finding === undefined || finding.would === "unknown";
    const { pin } = this.#options;
    const { clock } = this.#client.ports;
    const sentAtMs = clock.monotonic();
    // Settling has made a version of its own.
    const moved = pin === undefined || settled === undefined ? pin : { ...pin, resourceVersion: settled };
    const answer = await sendApply(
      this.#client,
      this.#planned,
      { ...this.#options, pin: moved },
      {
        ...(isNew || this.#ignored === undefined ? {} : { body: this.#ignored.body }),
        dryRun: false,
        force: this.#treatment.forceConflicts,
        strict,
      },
    );
    if (answer.status >= 300) return this.#refused(applyRefusal(answer, this.#planned));
    const { resourceVersion, generation, managedFields } = metadataOf(answer);
    // An apply that arrived, and whose answer was lost, has made what the one sent again then finds.
    const made = answer.sentBefore === true && finding?.would === "create";
    if (answer.status === 201 || made) return { status: "created", generation };
    const before = settled ?? finding?.resourceVersion;
    const tookMs = clock.monotonic() - sentAtMs;
    const untouched = answer.sentBefore !== true && provesNoChange(answer, managedFields, this.#options.fieldManager, tookMs);
    const unchanged = resourceVersion === before || untouched;
    return { status: unchanged ? "unchanged" : "updated", generation };
  }

  /** Asked only where it matters: a new object gets the fields that one that exists does not. */
  async #isNew(): Promise<boolean> {
    const would = this.#finding?.would;
    if (would === "create") return true;
    if (this.#ignored === undefined || would === "update" || would === "unchanged") return false;
    return (await readMetadata(this.#client, this.#planned, this.#options.signal)) === undefined;
  }

  #mustSettle(): boolean {
    const finding = this.#finding;
    // Nobody has looked.
    if (finding === undefined || finding.would === "unknown") return this.#ignored !== undefined || (finding?.legacy.size ?? 0) > 0;
    return finding.legacy.size > 0 || finding.gives === true;
  }

  async #settle(): Promise<string | undefined> {
    return settleOwnership(this.#client, this.#planned, this.#options, this.#ignored);
  }

  async #refused(error: TransporterError): Promise<Written> {
    const { signal } = this.#options;
    if (error.code === "FIELD_CONFLICT") throw withTimes(error, this.#planned, await readMetadata(this.#client, this.#planned, signal));
    if (error.code !== "IMMUTABLE_FIELD") throw error;
    // It was not to be seen before: a webhook refuses dry runs, or somebody has changed the object since.
    if (this.#treatment.recreate) return this.#recreate();
    throw await explainImmutable(this.#client, this.#planned, error, signal);
  }

  /** What was just made had to have these fields; whoever is to have them from now on must not find them ours. */
  async #giveUp(): Promise<void> {
    if (this.#ignored === undefined) return;
    try {
      await settleOwnership(this.#client, this.#planned, { ...this.#options, pin: undefined }, this.#ignored);
    } catch (error) {
      // It was made, which is what counts; the next apply gives them up first.
      this.#client.log.warn("Fields that are left to others are still booked as ours", {
        object: this.#planned.label,
        error: messageOf(error),
      });
    }
  }
}

/**
 * Applies one object in earnest, after its dry run. `finding` is undefined where there was none. Throws the refusal, or what the client
 * throws (`details.maybe_done` where nobody knows whether it took effect).
 */
export async function writeObject(
  client: KubeClient,
  planned: PlannedObject,
  finding: Finding | undefined,
  options: ApplyOptions,
): Promise<Written> {
  if (options.createOnly === true) return createObject(client, planned, finding, options);
  const { guard, ...rest } = options;
  if (guard !== undefined) return guard.write(planned, async (pin) => writeObject(client, planned, finding, { ...rest, pin }));
  const proven = finding?.would === "unchanged" && client.ports.clock.monotonic() - finding.atMs < PROOF_MS;
  // The dry run was an apply in everything but its writing, and it would have written nothing.
  if (proven) return { status: "unchanged", generation: finding.generation };
  const ignored = await ignoredOf(client, planned, treatmentOf(planned, options), options.signal);
  return new ObjectWrite(client, planned, finding, options, ignored).run();
}
