import { AGENT_ID } from "./values.ts";
import { backupAndRestore } from "./steps-backup.ts";
import { installAgent, installCp, loadImage, login, prepareNamespaces } from "./steps-install.ts";
import { byQueue, queueReady } from "./steps-queue.ts";
import { CP_OVER, helmTest, legacy, rollBack, uninstall } from "./steps-release.ts";
import { cutAndKill } from "./steps-trouble.ts";
import { clusterAdmin, firstEvent, forbidden, namespaced, readOnly, running } from "./steps-work.ts";
import type { Step } from "./walk.ts";

/** The whole journey on one pair of clusters, each step on what earlier ones left. */
export const JOURNEY: readonly Step[] = [
  loadImage,
  prepareNamespaces,
  queueReady,
  installCp(CP_OVER),
  login,
  installAgent(),
  readOnly,
  forbidden,
  namespaced,
  running,
  byQueue,
  helmTest,
  cutAndKill,
  backupAndRestore,
  clusterAdmin,
  legacy,
  rollBack,
  uninstall,
];

/** As far as it takes to have something to play with. */
export const BRING_UP: readonly Step[] = [
  loadImage,
  prepareNamespaces,
  queueReady,
  installCp({ tests: { agent: AGENT_ID } }),
  login,
  installAgent({ rbac: { preset: "clusterAdmin" } }),
  firstEvent,
  byQueue,
];
