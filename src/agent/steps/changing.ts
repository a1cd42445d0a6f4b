import type { Target } from "../../k8s/mod.ts";
import type { ResourceSteps } from "../executor.ts";

/** Steps that change objects, and can say which before they do. */
export interface ChangingSteps extends ResourceSteps {
  /** Every object that `apply` may make, change or delete; known once `validate` has resolved. */
  targets(): readonly Target[];
}
