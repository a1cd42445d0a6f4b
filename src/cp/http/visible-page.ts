import { isScoped, type Principal } from "../../security/mod.ts";
import type { Page } from "../../stores/mod.ts";
import type { Call } from "./endpoint.ts";

/** What is looked at for one page. Whoever sees little of much gets short pages, even empty ones, with a cursor to go on from. */
const MAX_LOOKED_AT = 2_000;
const MAX_LOOKS = 200;

export interface Listing<T> {
  readonly limit: number;
  readonly cursor: string | undefined;
  readonly fetch: (limit: number, cursor: string | undefined) => Promise<Page<T>>;
  readonly sees: (item: T) => boolean | Promise<boolean>;
}

/** The one agent whose things are all that somebody may see, so that the store need not be asked for others'. */
export function onlyAgentOf({ kind, scope }: Principal): string | undefined {
  const [only, ...others] = scope?.agents ?? [];
  if (only === undefined || others.length > 0) return undefined;
  // The id of an agent may look like a pattern.
  return kind === "agent" || !only.includes("*") ? only : undefined;
}

/** A page for whoever calls: all of it where they have no scope. */
export function pageFor<T>(call: Call, listing: Listing<T>): Promise<Page<T>> {
  if (!isScoped(call.principal.scope)) return listing.fetch(listing.limit, listing.cursor);
  call.scopeSeen();
  return visiblePage(listing);
}

/**
 * A page of what somebody may see. `fetch` answers all there is from a cursor on, and is never asked for more than can be told, so that the
 * cursor it answers with is always just behind what was told or passed over: nothing is skipped and nothing comes twice.
 */
export async function visiblePage<T>(of: Listing<T>): Promise<Page<T>> {
  const items: T[] = [];
  let { cursor } = of;
  let lookedAt = 0;
  for (let looks = 0; looks < MAX_LOOKS && lookedAt < MAX_LOOKED_AT; looks += 1) {
    const page = await of.fetch(of.limit - items.length, cursor);
    for (const item of page.items) {
      const isSeen = of.sees(item);
      if (isSeen instanceof Promise ? await isSeen : isSeen) items.push(item);
    }
    lookedAt += page.items.length;
    cursor = page.nextCursor;
    if (cursor === undefined || items.length >= of.limit) break;
  }
  return { items, nextCursor: cursor };
}
